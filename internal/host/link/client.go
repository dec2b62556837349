package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Client is the daemon's end of the link. Its methods may be called from several
// goroutines; each blocks until the agent answers or the context ends.
type Client struct {
	hello         api.Hello
	rpc           *caller
	timing        Timing
	stop          chan struct{} // closed by Close; stops the heartbeat
	heartbeatDone chan struct{} // closed when the heartbeat has ended
}

// Events handle notifications from the agent. Each function is called from one goroutine
// at a time and must not call the Client, since reading waits for it.
type Events struct {
	Log   func(api.LogLine)
	Ended func(api.Ended)
}

// Timing is how long the daemon waits for the agent.
type Timing struct {
	Lease   time.Duration // for the answer to a ping; the agent waits as long for a ping
	Timeout time.Duration // for any other answer that needs no debugger; 0 for no limit
}

// Connect reads the agent's hello from r, checks it before it sends anything, and starts
// the link. To renew the lease it sends a ping every sixth of the lease. If an answer
// takes longer than the lease, the link is lost. The caller must then end r, because
// Close waits for a read in progress.
func Connect(r io.Reader, w io.WriteCloser, t Timing, ev Events) (*Client, error) {
	br := bufio.NewReader(r)
	line, err := api.ReadLine(br)
	if err != nil {
		return nil, diag.Errorf(diag.AgentProtocol, "read the agent's hello: %w", err)
	}
	c := &Client{timing: t, stop: make(chan struct{}), heartbeatDone: make(chan struct{})}
	if err := json.Unmarshal(line, &c.hello); err != nil {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent's hello is not valid JSON: %w", err)
	}
	if err := checkHello(&c.hello); err != nil {
		return nil, err
	}
	if c.hello.TargetError != nil {
		api.JoinErrorLines(c.hello.TargetError)
	}
	c.rpc = newCaller(br, w, ev.dispatch)
	go c.heartbeat(t.Lease)
	return c, nil
}

// checkHello returns an error for an agent that this program cannot work with.
func checkHello(h *api.Hello) error {
	if h.Protocol != api.Protocol {
		return diag.Errorf(diag.AgentProtocol, "the agent speaks protocol %d, this program %d", h.Protocol, api.Protocol)
	}
	if h.OS != "linux" {
		return diag.Errorf(diag.NodePlatform, "the agent runs on %q", h.OS)
	}
	if !json.Valid(h.Capabilities) || h.Socket == "" {
		return diag.Errorf(diag.AgentProtocol, "the agent's hello lacks its capabilities or socket")
	}
	if h.Target == nil && (h.TargetError == nil || h.TargetError.Summary == "") {
		return diag.Errorf(diag.AgentProtocol, "the agent's hello names neither a target nor why there is none")
	}
	return nil
}

func (ev Events) dispatch(method string, params json.RawMessage) {
	switch method {
	case api.NotifyLog:
		var l api.LogLine
		if json.Unmarshal(params, &l) == nil && ev.Log != nil {
			ev.Log(l)
		}
	case api.NotifyEnded:
		var e api.Ended
		if json.Unmarshal(params, &e) == nil && ev.Ended != nil {
			ev.Ended(e)
		}
	}
}

func (c *Client) heartbeat(lease time.Duration) {
	defer close(c.heartbeatDone)
	tick := time.NewTicker(max(lease/6, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.rpc.done:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), lease)
		err := c.callUnbounded(ctx, api.MethodPing, nil, nil)
		cancel()
		if err != nil && ctx.Err() != nil {
			c.rpc.fail()
			return
		}
	}
}

// Hello returns the agent's first message.
func (c *Client) Hello() api.Hello { return c.hello }

// Lost is closed when the link has ended, for whatever reason.
func (c *Client) Lost() <-chan struct{} { return c.rpc.done }

// Ping returns how long the agent takes to answer.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	err := c.callUnbounded(ctx, api.MethodPing, nil, nil)
	return time.Since(start), err
}

// Target has the agent look for the target again.
func (c *Client) Target(ctx context.Context) (t api.Target, err error) {
	return t, c.call(ctx, api.MethodTarget, nil, &t)
}

// List returns every Go program that runs on the node.
func (c *Client) List(ctx context.Context) (l []api.Candidate, err error) {
	err = c.call(ctx, api.MethodList, nil, &l)
	if slices.ContainsFunc(l, func(c api.Candidate) bool { return c.Build == nil }) {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent listed a program without build information")
	}
	return l, err
}

// Attach attaches the debugger to the target. It returns when the session that joins
// with the token is being served.
func (c *Client) Attach(ctx context.Context, p api.AttachParams) (r api.AttachResult, err error) {
	return r, c.callUnbounded(ctx, api.MethodAttach, p, &r)
}

// EndSession ends the session: the agent clears its breakpoints, lets the target run,
// and detaches unless it lingers. It returns when the agent has verified that, with the
// reason if the session had already ended by itself.
func (c *Client) EndSession(ctx context.Context) (reason string, err error) {
	var r api.EndResult
	err = c.callUnbounded(ctx, api.MethodEnd, nil, &r)
	return r.Reason, err
}

// Release ends the session, if any, and the agent.
func (c *Client) Release(ctx context.Context) error {
	return c.callUnbounded(ctx, api.MethodRelease, nil, nil)
}

// Close ends the link and waits for its goroutines. Without a Release before, the agent
// releases the target by itself.
func (c *Client) Close() {
	close(c.stop)
	c.rpc.close()
	<-c.heartbeatDone
}

// call calls a method that needs no debugger, within the timeout.
func (c *Client) call(ctx context.Context, method string, params, result any) error {
	if c.timing.Timeout <= 0 {
		return c.callUnbounded(ctx, method, params, result)
	}
	timed, cancel := context.WithTimeout(ctx, c.timing.Timeout)
	defer cancel()
	err := c.callUnbounded(timed, method, params, result)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return diag.Errorf(diag.NodeSilent, "the agent did not answer %q within %s", method, c.timing.Timeout)
	}
	return err
}

// callUnbounded calls a method whose answer may depend on the target. Only ctx bounds it.
func (c *Client) callUnbounded(ctx context.Context, method string, params, result any) error {
	raw, err := c.rpc.call(ctx, method, params)
	switch {
	case errors.Is(err, errEnded):
		c.rpc.fail()
		return diag.Errorf(diag.LinkLost, "the connection to the agent ended during %q", method)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		if err = api.FromRPC(err); errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
			c.rpc.fail()
		}
		return err
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return diag.Errorf(diag.AgentProtocol, "the agent sent a malformed answer to %q: %w", method, err)
	}
	return nil
}
