//go:build linux

package supervisor_test

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// TestPreempt makes a worker release its target, whatever the worker is doing.
func TestPreempt(t *testing.T) {
	const reason = "busy is replaced"
	for name, begin := range map[string]func(ctx context.Context, t *testing.T, s *agentProcess){
		"untouched": func(ctx context.Context, t *testing.T, s *agentProcess) { s.start(ctx, 0) },
		"halted":    func(ctx context.Context, t *testing.T, s *agentProcess) { s.start(ctx, 0).stopAt(ctx, "slow: before") },
		"hot": func(ctx context.Context, t *testing.T, s *agentProcess) {
			s.start(ctx, 0).setBreakpoints(ctx, s.target.neverBreakpoint())
		},
		"halted, to linger": func(ctx context.Context, t *testing.T, s *agentProcess) {
			s.start(ctx, time.Hour).stopAt(ctx, "slow: before")
		},
		"lingering": func(ctx context.Context, t *testing.T, s *agentProcess) {
			s.start(ctx, time.Hour)
			if _, err := s.client.EndSession(ctx); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := shortContext(t)
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			begin(ctx, t, s)
			if by, err := supervisor.FindSession(b.pid()); by == "" || err != nil {
				t.Errorf("it is debugged by %q, %v", by, err)
			}
			if err := supervisor.ReleaseTarget(ctx, b.pid(), reason); err != nil {
				t.Fatal(err)
			}
			b.waitUntilFree(5 * time.Second)
			if e := s.waitEnded(ctx); e.Reason != reason {
				t.Errorf("the session's end: %+v", e)
			}
			if by, err := supervisor.FindSession(b.pid()); by != "" || err != nil {
				t.Errorf("it is still debugged by %q, %v", by, err)
			}
			s.start(ctx, 0).end(ctx)
		})
	}
}

// A tracer that is not a dapbridge worker cannot be asked to release the target.
func TestPreemptForeignTracer(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	if err := supervisor.ReleaseTarget(ctx, b.pid(), "x"); err != nil {
		t.Errorf("of nobody: %v", err)
	}
	runtime.LockOSThread() // the thread is the tracer
	defer runtime.UnlockOSThread()
	if err := syscall.PtraceAttach(b.pid()); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(b.pid(), nil, syscall.WALL, nil); err != nil {
		t.Error(err)
	}
	if err := supervisor.ReleaseTarget(ctx, b.pid(), "x"); !errors.Is(err, &diag.Error{Code: diag.TargetTraced}) {
		t.Errorf("%v", err)
	}
	if err := syscall.PtraceDetach(b.pid()); err != nil {
		t.Fatal(err)
	}
	b.waitUntilFree(5 * time.Second)
}
