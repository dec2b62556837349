//go:build linux

package supervisor_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// session is a debug session, with the ends of the IDE and the daemon.
type session struct {
	*dapclient.Client
	s       *agentProcess
	joinErr chan error // receives how the joining process ended
	table   *api.FunctionTable
}

// open attaches and returns the session; an error is the agent's.
func (s *agentProcess) open(ctx context.Context, linger time.Duration) (*session, error) {
	token := api.NewToken()
	sess, err := s.join(ctx, token)
	if err != nil {
		return nil, err
	}
	r, err := s.client.Attach(ctx, api.AttachParams{Token: token, Linger: linger, FunctionTable: s.functionTable, Symbols: s.symbols})
	if err != nil {
		sess.Client.Close()
		return nil, err
	}
	sess.table = r.FunctionTable
	return sess, nil
}

// join sends one end of a socket pair to the worker and returns the other.
func (s *agentProcess) join(ctx context.Context, token string) (*session, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	sess := &session{Client: dapclient.New(ours, dapclient.Unordered()), s: s, joinErr: make(chan error, 1)}
	go func() {
		defer theirs.Close()
		sess.joinErr <- supervisor.Join(context.WithoutCancel(ctx), s.client.Hello().Socket, token, theirs, theirs)
	}()
	s.t.Cleanup(func() { sess.Client.Close() })
	return sess, nil
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "ours")
	defer f.Close()
	theirs = os.NewFile(uintptr(fds[1]), "theirs")
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close()
	}
	return ours, theirs, err
}

// start opens a session in which the target runs, as an IDE does after its
// configuration.
func (s *agentProcess) start(ctx context.Context, linger time.Duration) *session {
	s.t.Helper()
	sess, err := s.open(ctx, linger)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := sess.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		s.t.Fatal(err)
	}
	return sess
}

// setBreakpoints replaces the breakpoints in the target's source.
func (sess *session) setBreakpoints(ctx context.Context, points ...dap.SourceBreakpoint) {
	t := sess.s.t
	t.Helper()
	r, err := sess.Request(ctx, "setBreakpoints", map[string]any{
		"source": dap.Source{Path: program.source}, "breakpoints": points,
	})
	if err != nil {
		t.Fatal(err)
	}
	var body dap.SetBreakpointsResponseBody
	if err := json.Unmarshal(r.Body, &body); err != nil {
		t.Fatal(err)
	}
	for _, p := range body.Breakpoints {
		if !p.Verified {
			t.Fatalf("a breakpoint is not verified: %+v", p)
		}
	}
}

// stopAt sets a breakpoint at the marked line and waits until it is hit.
func (sess *session) stopAt(ctx context.Context, mark string) *dap.StoppedEventBody {
	t := sess.s.t
	t.Helper()
	line := sess.s.target.line(mark)
	sess.setBreakpoints(ctx, dap.SourceBreakpoint{Line: line})
	stop, err := sess.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := sess.StackTrace(ctx, stop.ThreadId, 0, 1)
	if err != nil || len(frames) != 1 || frames[0].Line != line {
		t.Fatalf("stopped for %q at %+v, %v; want line %d", stop.Reason, frames, err, line)
	}
	return stop
}

// end ends the session as the daemon does. The target must be free when the agent
// answers.
func (sess *session) end(ctx context.Context) {
	sess.s.t.Helper()
	reason, err := sess.s.client.EndSession(ctx)
	if err != nil || reason != "" {
		sess.s.t.Fatalf("end: %q, %v", reason, err)
	}
	sess.s.target.mustBeFree()
	sess.mustHaveEnded(ctx)
}

// mustHaveEnded checks that the session's stream and the joining process end.
func (sess *session) mustHaveEnded(ctx context.Context) {
	t := sess.s.t
	t.Helper()
	select {
	case err := <-sess.joinErr:
		if err != nil {
			t.Errorf("join: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("the joining process does not end")
	}
	var violation *dapclient.Violation
	if err := sess.Client.Close(); errors.As(err, &violation) {
		t.Error(err)
	}
}
