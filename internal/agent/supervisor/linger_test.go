//go:build linux

package supervisor_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestLinger(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, time.Hour)
	sess.stopAt(ctx, "slow: before")
	worker := s.workerPID()
	if reason, err := s.client.EndSession(ctx); reason != "" || err != nil {
		t.Fatalf("end: %q, %v", reason, err)
	}
	sess.mustHaveEnded(ctx)
	b.mustBeat(5 * time.Second)
	if pid := s.workerPID(); pid != worker {
		t.Errorf("pid %d traced the target and %d does now", worker, pid)
	}
	diff, err := procfs.CompareText(b.pid())
	for _, d := range diff {
		if d.Mem != 0xcc {
			t.Errorf("%+v is not a breakpoint", d)
		}
	}
	if err != nil || len(diff) == 0 || len(diff) > 8 {
		t.Errorf("Delve's own breakpoints for panics: %+v, %v", diff, err)
	}
	next := s.start(ctx, 0)
	next.stopAt(ctx, "hot")
	if pid := s.workerPID(); pid != worker {
		t.Errorf("the next session has pid %d as its tracer, the one before had %d", pid, worker)
	}
	next.end(ctx)
}

func TestLingerOfAClosedClient(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, time.Hour)
	sess.stopAt(ctx, "slow: before")
	sess.Client.Close()
	if e := s.waitEnded(ctx); e.Reason != "its channel was closed" {
		t.Errorf("%+v", e)
	}
	b.mustBeat(5 * time.Second)
	s.workerPID()
	s.start(ctx, 0).end(ctx)
}

func TestLingerExpires(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, 500*time.Millisecond)
	sess.stopAt(ctx, "slow: before")
	if _, err := s.client.EndSession(ctx); err != nil {
		t.Fatal(err)
	}
	s.workerPID()
	b.waitUntilFree(5 * time.Second)
	testenv.Eventually(5*time.Second, func() bool { return len(s.ended) > 0 })
	s.start(ctx, 0).end(ctx)
}

// A new session stops the linger timer.
func TestNextSessionEndsLinger(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	s.start(ctx, 300*time.Millisecond)
	if _, err := s.client.EndSession(ctx); err != nil {
		t.Fatal(err)
	}
	sess := s.start(ctx, 0)
	stop := sess.stopAt(ctx, "slow: before")
	if err := sess.Continue(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	if _, err := sess.WaitStopped(ctx); err != nil { // slow takes a second
		t.Fatal(err)
	}
	sess.end(ctx)
}

// A target that panics while the worker lingers dies as it would without a debugger,
// and does not wait for a client.
func TestPanicDuringTheLinger(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	s.start(ctx, time.Hour)
	if _, err := s.client.EndSession(ctx); err != nil {
		t.Fatal(err)
	}
	s.workerPID()
	b.send("panic")
	select {
	case <-b.ended:
	case <-ctx.Done():
		t.Fatalf("the target hangs in its panic: %s", b.whyNotFree())
	}
	if code := b.cmd.ProcessState.ExitCode(); code != 2 || !bytes.Contains(b.stderr.Bytes(), []byte("panic: as it was told")) {
		t.Errorf("the target: %s\n%s", b.cmd.ProcessState, b.stderr.Bytes())
	}
	if _, err := s.open(ctx, 0); !errors.Is(err, &diag.Error{Code: diag.TargetNone}) {
		t.Errorf("attach: %v", err)
	}
}
