//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"sync"
	"time"

	dlvapi "github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// foreignTimeout bounds how long a dlv may take to halt its target and to answer.
const foreignTimeout = 30 * time.Second

// foreign is a dlv that somebody else has started, in multi-client mode, which
// serves a session in place of a Delve of our own. Its debugger goes on when the
// session ends; what the session has changed is undone by requests.
type foreignDlv struct {
	dlv    supervisor.Dlv
	log    *slog.Logger
	before map[int]bool // its breakpoints when we came
	conn   net.Conn     // the session's
}

// borrow halts the dlv's target, as an attach does, and connects for a session.
func connectForeign(ctx context.Context, dlv supervisor.Dlv, log *slog.Logger) (*foreignDlv, error) {
	f := &foreignDlv{dlv: dlv, log: log, before: map[int]bool{}}
	err := f.withClient(func(c *rpc.Client) error {
		if err := haltDlv(c); err != nil {
			return err
		}
		points, err := listBreakpoints(c)
		for _, bp := range points {
			f.before[bp.ID] = true
		}
		return err
	})
	if err == nil {
		f.conn, err = dlv.Dial(ctx)
	}
	if err != nil {
		return nil, diag.Errorf(diag.AttachFailed, "the dlv on %s: %w", dlv, err)
	}
	return f, nil
}

// ask runs f with a connection of its own to the dlv.
func (f *foreignDlv) withClient(do func(*rpc.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), foreignTimeout)
	defer cancel()
	conn, err := f.dlv.Dial(ctx)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(foreignTimeout))
	c := jsonrpc.NewClient(conn)
	defer c.Close()
	return do(c)
}

// session passes the stream on as it is.
func (f *foreignDlv) session(j supervisor.JoinRequest, _ api.SessionProtocol) (io.Closer, func()) {
	s := &splice{j: j, conn: f.conn}
	return s, s.copy
}

// interrupt has nothing to do: the end of its stream is all that a session waits
// for.
func (*foreignDlv) interrupt() {}

// release takes out the session's breakpoints and lets the target run, under the
// dlv that it has come from.
func (f *foreignDlv) release() error {
	f.conn.Close()
	err := f.withClient(func(c *rpc.Client) error {
		if err := haltDlv(c); err != nil {
			return err
		}
		if err := c.Call("RPCServer.CancelNext", rpc2.CancelNextIn{}, &rpc2.CancelNextOut{}); err != nil {
			f.log.Debug("cancelling a step", "error", err)
		}
		if err := f.clearBreakpoints(c); err != nil {
			return err
		}
		return resumeDlv(c)
	})
	if err != nil && !errors.Is(err, errExited) {
		return diag.Errorf(diag.DetachFailed, "the dlv on %s did not let its target run: %w", f.dlv, err).
			WithHint("continue it with: dlv connect %s", f.dlv)
	}
	return nil
}

func (f *foreignDlv) clearBreakpoints(c *rpc.Client) error {
	points, err := listBreakpoints(c)
	if err != nil {
		return err
	}
	for _, bp := range points {
		if bp.ID <= 0 || f.before[bp.ID] {
			continue
		}
		if err := c.Call("RPCServer.ClearBreakpoint", rpc2.ClearBreakpointIn{Id: bp.ID}, &rpc2.ClearBreakpointOut{}); err != nil {
			return fmt.Errorf("clear the breakpoint at %s:%d: %w", bp.File, bp.Line, err)
		}
	}
	return nil
}

// errExited says that the dlv's target has ended.
var errExited = errors.New("its target has ended")

// How long a halt may take before it is asked for again, and how long a target
// must have run, how often tried, to count as running.
const (
	foreignHaltPause   = 500 * time.Millisecond
	foreignRunning     = 100 * time.Millisecond
	foreignResumeTries = 20
)

// halt returns when the target is halted. A halt that comes just before a resume
// is lost, so that it is asked for until it has come about, or the connection's
// deadline; not sooner than one can be answered, since one that comes late halts
// the target after its next resume.
func haltDlv(c *rpc.Client) error {
	for {
		state, err := queryState(c)
		switch {
		case err != nil:
			return err
		case state.Exited:
			return errExited
		case !state.Running:
			return nil
		}
		call := c.Go("RPCServer.Command", dlvapi.DebuggerCommand{Name: dlvapi.Halt}, &rpc2.CommandOut{}, make(chan *rpc.Call, 1))
		select {
		case <-call.Done:
		case <-time.After(foreignHaltPause):
		}
	}
}

// resume lets the target run and returns when it does, or has stopped again at
// somebody else's breakpoint. What else stops it at once is a halt that came late.
func resumeDlv(c *rpc.Client) error {
	for range foreignResumeTries {
		var out rpc2.CommandOut
		call := c.Go("RPCServer.Command", dlvapi.DebuggerCommand{Name: dlvapi.Continue}, &out, make(chan *rpc.Call, 1))
		select {
		case <-call.Done:
		case <-time.After(foreignRunning):
			return nil
		}
		at := out.State.CurrentThread
		if call.Error != nil || out.State.Exited || at != nil && at.Breakpoint != nil {
			return call.Error
		}
	}
	return fmt.Errorf("it stopped again after each of %d resumes", foreignResumeTries)
}

// stateOf asks for the state without waiting for a target that runs.
func queryState(c *rpc.Client) (*dlvapi.DebuggerState, error) {
	var out rpc2.StateOut
	err := c.Call("RPCServer.State", rpc2.StateIn{NonBlocking: true}, &out)
	if err == nil && out.State == nil {
		err = errors.New("it does not tell its state")
	}
	return out.State, err
}

func listBreakpoints(c *rpc.Client) ([]*dlvapi.Breakpoint, error) {
	var out rpc2.ListBreakpointsOut
	err := c.Call("RPCServer.ListBreakpoints", rpc2.ListBreakpointsIn{}, &out)
	return out.Breakpoints, err
}

// spliced is a session's stream and a dlv's connection, made one.
type splice struct {
	j       supervisor.JoinRequest
	conn    net.Conn
	closing sync.Once
}

// copy returns when both directions have ended: the end of one is the other's.
func (s *splice) copy() {
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(s.conn, s.j.In)
		s.Close()
	})
	io.Copy(s.j.Out, s.conn)
	s.Close()
	wg.Wait()
}

// Close ends both.
func (s *splice) Close() (err error) {
	s.closing.Do(func() { err = errors.Join(s.conn.Close(), s.j.Close()) })
	return err
}
