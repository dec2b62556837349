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

// foreignTimeout bounds how long a foreign dlv may take to halt its target and to
// answer.
const foreignTimeout = 30 * time.Second

// foreignDlv is a multi-client dlv that somebody else has started, and that serves a
// session instead of our own Delve. It keeps running after the session; requests to it
// undo what the session has changed.
type foreignDlv struct {
	dlv      supervisor.Dlv
	log      *slog.Logger
	existing map[int]bool // IDs of the breakpoints before the session
	conn     net.Conn     // the session's connection
}

// connectForeign halts the dlv's target, as an attach does, and opens the session's
// connection.
func connectForeign(ctx context.Context, dlv supervisor.Dlv, log *slog.Logger) (*foreignDlv, error) {
	f := &foreignDlv{dlv: dlv, log: log, existing: map[int]bool{}}
	err := f.withClient(func(c *rpc.Client) error {
		if err := haltDlv(c); err != nil {
			return err
		}
		points, err := listBreakpoints(c)
		for _, bp := range points {
			f.existing[bp.ID] = true
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

// withClient calls do with a new connection to the dlv.
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

// open implements [backend]: it forwards the stream unchanged.
func (f *foreignDlv) open(j supervisor.JoinRequest, _ api.SessionProtocol) (io.Closer, func()) {
	s := &splice{j: j, conn: f.conn}
	return s, s.copy
}

// interrupt implements [backend]. It does nothing, since the session only waits for
// the end of its stream.
func (*foreignDlv) interrupt() {}

// release removes the session's breakpoints and lets the target run, still traced by
// the dlv.
func (f *foreignDlv) release() error {
	f.conn.Close()
	err := f.withClient(func(c *rpc.Client) error {
		if err := haltDlv(c); err != nil {
			return err
		}
		if err := c.Call("RPCServer.CancelNext", rpc2.CancelNextIn{}, &rpc2.CancelNextOut{}); err != nil {
			f.log.Debug("cannot cancel a step", "error", err)
		}
		if err := f.clearBreakpoints(c); err != nil {
			return err
		}
		return resumeDlv(c)
	})
	if err != nil && !errors.Is(err, errExited) {
		return diag.Errorf(diag.DetachFailed, "the dlv on %s did not resume its target: %w", f.dlv, err).
			WithHint("resume it with: dlv connect %s", f.dlv)
	}
	return nil
}

func (f *foreignDlv) clearBreakpoints(c *rpc.Client) error {
	points, err := listBreakpoints(c)
	if err != nil {
		return err
	}
	for _, bp := range points {
		if bp.ID <= 0 || f.existing[bp.ID] {
			continue
		}
		if err := c.Call("RPCServer.ClearBreakpoint", rpc2.ClearBreakpointIn{Id: bp.ID}, &rpc2.ClearBreakpointOut{}); err != nil {
			return fmt.Errorf("clear the breakpoint at %s:%d: %w", bp.File, bp.Line, err)
		}
	}
	return nil
}

// errExited is the error for a dlv whose target has exited.
var errExited = errors.New("its target has exited")

// How long to wait for a halt before repeating it, how long a target must have run to
// count as running, and how often to try.
const (
	foreignHaltPause   = 500 * time.Millisecond
	foreignRunning     = 100 * time.Millisecond
	foreignResumeTries = 20
)

// haltDlv halts the target. A halt that arrives just before a resume is lost, so it is
// repeated until the target is halted or the connection's deadline has passed; but not
// before the first one can have been answered, since a late one halts the target after
// its next resume.
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

// resumeDlv resumes the target and returns when it runs, or has stopped again at
// somebody else's breakpoint. If it stops at once for another reason, that was a late
// halt.
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

// queryState returns the state without waiting for a running target.
func queryState(c *rpc.Client) (*dlvapi.DebuggerState, error) {
	var out rpc2.StateOut
	err := c.Call("RPCServer.State", rpc2.StateIn{NonBlocking: true}, &out)
	if err == nil && out.State == nil {
		err = errors.New("it does not report its state")
	}
	return out.State, err
}

func listBreakpoints(c *rpc.Client) ([]*dlvapi.Breakpoint, error) {
	var out rpc2.ListBreakpointsOut
	err := c.Call("RPCServer.ListBreakpoints", rpc2.ListBreakpointsIn{}, &out)
	return out.Breakpoints, err
}

// splice connects a session's stream to a dlv's connection.
type splice struct {
	j       supervisor.JoinRequest
	conn    net.Conn
	closing sync.Once
}

// copy copies in both directions until both have ended: the end of one ends the other.
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

// Close closes both ends.
func (s *splice) Close() (err error) {
	s.closing.Do(func() { err = errors.Join(s.conn.Close(), s.j.Close()) })
	return err
}
