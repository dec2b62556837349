package agent

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// Client is the daemon's end of the link. Its methods may be called at once
// from several goroutines; each waits for the agent's answer or the context.
type Client struct {
	hello  Hello
	rpc    *jrpc2.Client
	stop   chan struct{} // closed by Close: ends the heartbeat
	beat   chan struct{} // closed when the heartbeat has ended
	losing sync.Once
	lost   chan struct{} // closed when the link is gone
}

// Events are what the agent says unasked. Each function is called from one
// goroutine at a time and must not wait for the Client.
type Events struct {
	Log   func(LogLine)
	Ended func(Ended)
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
func Connect(r io.Reader, w io.WriteCloser, lease time.Duration, ev Events) (*Client, error) {
	br := bufio.NewReader(r)
	line, err := readLine(br)
	if err != nil {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent's first line: %w", err)
	}
	c := &Client{stop: make(chan struct{}), beat: make(chan struct{}), lost: make(chan struct{})}
	if err := json.Unmarshal(line, &c.hello); err != nil {
		return nil, diag.Errorf(diag.AgentProtocol, "the agent's first line is no JSON: %w", err)
	}
	if err := c.hello.check(); err != nil {
		return nil, err
	}
	c.rpc = jrpc2.NewClient(&lines{r: br, w: w}, &jrpc2.ClientOptions{
		OnNotify: ev.dispatch,
		OnCancel: tellCancel,
		OnStop:   func(*jrpc2.Client, error) { c.lose() },
	})
	go c.heartbeat(lease)
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

func (ev Events) dispatch(req *jrpc2.Request) {
	switch req.Method() {
	case notifyLog:
		var l LogLine
		if req.UnmarshalParams(&l) == nil && ev.Log != nil {
			ev.Log(l)
		}
	case notifyEnded:
		var e Ended
		if req.UnmarshalParams(&e) == nil && ev.Ended != nil {
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
		case <-c.lost:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), lease)
		err := c.call(ctx, methodPing, nil, nil)
		cancel()
		if err != nil && ctx.Err() != nil {
			c.lose()
			c.rpc.Close()
			return
		}
	}
}

func (c *Client) lose() { c.losing.Do(func() { close(c.lost) }) }

// Hello returns what the agent said first.
func (c *Client) Hello() Hello { return c.hello }

// Lost is closed when the link has ended, for whatever reason.
func (c *Client) Lost() <-chan struct{} { return c.lost }

// Target looks for the target again and returns it.
func (c *Client) Target(ctx context.Context) (t Target, err error) {
	return t, c.call(ctx, methodTarget, nil, &t)
}

// List returns every Go program that runs on the node.
func (c *Client) List(ctx context.Context) (l []target.Candidate, err error) {
	return l, c.call(ctx, methodList, nil, &l)
}

// Attach attaches the debugger to the target and returns when the session that
// joins with the token is being served.
func (c *Client) Attach(ctx context.Context, p AttachParams) (r AttachResult, err error) {
	return r, c.call(ctx, methodAttach, p, &r)
}

// End ends the session: its breakpoints are cleared, the target runs, and is
// detached unless it lingers. It returns when that has been seen to hold, with
// the reason if the session had ended by itself.
func (c *Client) End(ctx context.Context) (reason string, err error) {
	var r EndResult
	err = c.call(ctx, methodEnd, nil, &r)
	return r.Reason, err
}

// Release ends the session, if any, and the agent.
func (c *Client) Release(ctx context.Context) error { return c.call(ctx, methodRelease, nil, nil) }

// Close ends the link and joins what it started. An agent that was not
// released releases the target by itself.
func (c *Client) Close() {
	close(c.stop)
	c.rpc.Close()
	<-c.beat
}

func (c *Client) call(ctx context.Context, method string, params, result any) error {
	var err error
	if result == nil {
		_, err = c.rpc.Call(ctx, method, params)
	} else {
		err = c.rpc.CallResult(ctx, method, params, result)
	}
	var answer *jrpc2.Error
	switch {
	case err == nil:
		return nil
	case c.rpc.IsStopped() || ctx.Err() == nil && !errors.As(err, &answer):
		c.lose()
		return diag.Errorf(diag.LinkLost, "the connection to the agent ended during %q", method)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if err = fromRPC(err); errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
		c.lose()
	}
	return err
}

// newHello describes this process.
func newHello(version string) Hello {
	return Hello{Protocol: Protocol, Version: version, OS: runtime.GOOS, Arch: runtime.GOARCH}
}
