package agent

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// Client is the daemon's end of the link. Its methods may be called at once
// from several goroutines; each waits for the agent's answer or the context.
type Client struct {
	hello  Hello
	rpc    *caller
	timing Timing
	stop   chan struct{} // closed by Close: ends the heartbeat
	beat   chan struct{} // closed when the heartbeat has ended
}

// Events are what the agent says unasked. Each function is called from one
// goroutine at a time and must not wait for the Client.
type Events struct {
	Log   func(LogLine)
	Ended func(Ended)
}

// Timing is how long the daemon waits for the agent.
type Timing struct {
	Lease   time.Duration // for the answer to a ping; and the agent for a ping
	Timeout time.Duration // for any other answer that needs no debugger; 0 is without end
}

// SuperviseArgs is the command line of the supervisor, after the program. daemon
// names who starts it, for other users of the node. dlv is the [Dlv] that is to be
// used, "" for none.
func SuperviseArgs(sel target.Selector, lease time.Duration, daemon, dlv string) []string {
	return []string{
		"agent", "supervise", "--protocol", strconv.Itoa(Protocol), daemonFlag, daemon,
		"--lease", lease.String(), "--target", sel.Name, "--pid", strconv.Itoa(sel.PID), "--dlv", dlv,
	}
}

// ErrandFlag is added to it by a daemon that wants no session.
const ErrandFlag = "--errand"

// daemonFlag is read by other agents too, in the supervisor's command line.
const daemonFlag = "--daemon"

// JoinArgs is the command line that hands a session's descriptors to the
// worker, after the program.
func JoinArgs(socket, token string) []string {
	return []string{"agent", "join", "--socket", socket, "--token", token}
}

// NewToken returns a name that nobody can guess.
func NewToken() string { return rand.Text() }

// Connect reads the agent's hello from r, checks it before anything else is
// sent, and starts the link. It renews the lease by a ping each sixth of it;
// when an answer is missing for the whole lease, the link counts as lost, and
// the caller must end r: a read under way holds up Close.
func Connect(r io.Reader, w io.WriteCloser, t Timing, ev Events) (*Client, error) {
	br := bufio.NewReader(r)
	line, err := readLine(br)
	if err != nil {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent's first line: %w", err)
	}
	c := &Client{timing: t, stop: make(chan struct{}), beat: make(chan struct{})}
	if err := json.Unmarshal(line, &c.hello); err != nil {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent's first line is no JSON: %w", err)
	}
	if err := c.hello.check(); err != nil {
		return nil, err
	}
	if c.hello.TargetError != nil {
		tidied(c.hello.TargetError)
	}
	c.rpc = newCaller(br, w, ev.dispatch)
	go c.heartbeat(t.Lease)
	return c, nil
}

func (h *Hello) check() error {
	if h.Protocol != Protocol {
		return diag.Errorf(diag.AgentProtocol, "the agent speaks protocol %d, this program %d", h.Protocol, Protocol)
	}
	if h.OS != "linux" {
		return diag.Errorf(diag.NodePlatform, "the agent runs on %q", h.OS)
	}
	if !json.Valid(h.Capabilities) || h.Socket == "" {
		return diag.Errorf(diag.AgentProtocol, "the agent's first line lacks its capabilities or socket")
	}
	if h.Target == nil && (h.TargetError == nil || h.TargetError.Summary == "") {
		return diag.Errorf(diag.AgentProtocol, "the agent's first line names neither a target nor why there is none")
	}
	return nil
}

func (ev Events) dispatch(method string, params json.RawMessage) {
	switch method {
	case notifyLog:
		var l LogLine
		if json.Unmarshal(params, &l) == nil && ev.Log != nil {
			ev.Log(l)
		}
	case notifyEnded:
		var e Ended
		if json.Unmarshal(params, &e) == nil && ev.Ended != nil {
			ev.Ended(e)
		}
	}
}

func (c *Client) heartbeat(lease time.Duration) {
	defer close(c.beat)
	tick := time.NewTicker(max(lease/6, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.rpc.over:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), lease)
		err := c.callDebugger(ctx, methodPing, nil, nil)
		cancel()
		if err != nil && ctx.Err() != nil {
			c.rpc.end()
			return
		}
	}
}

// Hello returns what the agent said first.
func (c *Client) Hello() Hello { return c.hello }

// Lost is closed when the link has ended, for whatever reason.
func (c *Client) Lost() <-chan struct{} { return c.rpc.over }

// Ping returns how long the agent takes to answer.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := c.callDebugger(ctx, methodPing, nil, nil)
	return time.Since(began), err
}

// Target looks for the target again and returns it.
func (c *Client) Target(ctx context.Context) (t Target, err error) {
	return t, c.call(ctx, methodTarget, nil, &t)
}

// List returns every Go program that runs on the node.
func (c *Client) List(ctx context.Context) (l []target.Candidate, err error) {
	err = c.call(ctx, methodList, nil, &l)
	if slices.ContainsFunc(l, func(c target.Candidate) bool { return c.Build == nil }) {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent lists a program without a build")
	}
	return l, err
}

// Attach attaches the debugger to the target and returns when the session that
// joins with the token is being served.
func (c *Client) Attach(ctx context.Context, p AttachParams) (r AttachResult, err error) {
	return r, c.callDebugger(ctx, methodAttach, p, &r)
}

// End ends the session: its breakpoints are cleared, the target runs, and is
// detached unless it lingers. It returns when that has been seen to hold, with
// the reason if the session had ended by itself.
func (c *Client) End(ctx context.Context) (reason string, err error) {
	var r EndResult
	err = c.callDebugger(ctx, methodEnd, nil, &r)
	return r.Reason, err
}

// Release ends the session, if any, and the agent.
func (c *Client) Release(ctx context.Context) error {
	return c.callDebugger(ctx, methodRelease, nil, nil)
}

// Close ends the link and joins what it started. An agent that was not
// released releases the target by itself.
func (c *Client) Close() {
	close(c.stop)
	c.rpc.close()
	<-c.beat
}

// call calls a method that the agent answers by looking at something.
func (c *Client) call(ctx context.Context, method string, params, result any) error {
	if c.timing.Timeout <= 0 {
		return c.callDebugger(ctx, method, params, result)
	}
	timed, cancel := context.WithTimeout(ctx, c.timing.Timeout)
	defer cancel()
	err := c.callDebugger(timed, method, params, result)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return diag.Errorf(diag.NodeSilent, "the agent has not answered %q within %s", method, c.timing.Timeout)
	}
	return err
}

// callDebugger calls a method whose answer may have to wait for the target; the
// caller bounds that.
func (c *Client) callDebugger(ctx context.Context, method string, params, result any) error {
	raw, err := c.rpc.call(ctx, method, params)
	switch {
	case errors.Is(err, errEnded):
		c.rpc.end()
		return diag.Errorf(diag.LinkLost, "the connection to the agent ended during %q", method)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		if err = fromRPC(err); errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
			c.rpc.end()
		}
		return err
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return diag.Errorf(diag.AgentProtocol, "the agent answers %q with what is none: %w", method, err)
	}
	return nil
}

// newHello describes this process.
func newHello(version string) Hello {
	return Hello{Protocol: Protocol, Version: version, OS: runtime.GOOS, Arch: runtime.GOARCH}
}
