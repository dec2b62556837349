//go:build linux

package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestRelease(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, time.Hour)
	sess.stopAt(ctx, "slow: before")
	if err := s.client.Release(ctx); err != nil {
		t.Fatal(err)
	}
	b.mustBeFree()
	sess.mustHaveEnded(ctx)
	s.closing.Do(s.client.Close)
	s.waitExit(t, 5*time.Second)
	if !s.cmd.ProcessState.Success() {
		t.Errorf("the supervisor: %s", s.cmd.ProcessState)
	}
}

// waitExit waits until the supervisor has exited.
func (s *agentProcess) waitExit(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-s.exited:
	case <-time.After(within):
		t.Fatalf("the supervisor has not exited within %s", within)
	}
}

func TestLeaseRunsOut(t *testing.T) {
	const lease = time.Second
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{lease: lease, pings: time.Hour})
	stop := s.renew(ctx, lease/10)
	sess := s.start(ctx, time.Hour)
	sess.stopAt(ctx, "slow: before")
	last := stop()
	for time.Since(last) < lease*8/10 {
		if tracer, _, err := procfs.FindTracer(b.pid()); err != nil || tracer == 0 {
			t.Fatalf("the target was released %s after the daemon's last message: %v", time.Since(last), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.waitUntilFree(lease + 5*time.Second)
	s.waitExit(t, 5*time.Second)
	<-s.client.Lost()
	if log := s.log.String(); !strings.Contains(log, "the lease ran out") {
		t.Errorf("the supervisor does not log why it stops:\n%s", log)
	}
	if err := s.client.Release(ctx); !errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
		t.Errorf("a call over the lost link: %v", err)
	}
}

// renew sends the agent a message regularly until stop is called.
func (s *agentProcess) renew(ctx context.Context, every time.Duration) (stop func() (last time.Time)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan time.Time, 1)
	go func() {
		var last time.Time
		for ctx.Err() == nil {
			last = time.Now()
			s.client.Target(ctx)
			time.Sleep(every)
		}
		done <- last
	}()
	return func() time.Time { cancel(); return <-done }
}

// Heartbeats keep the lease, even during an attach.
func TestLeaseIsKept(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{lease: time.Second})
	sess := s.start(ctx, 0)
	sess.stopAt(ctx, "slow: before")
	select {
	case <-s.exited:
		t.Fatal("the supervisor exited while its daemon was alive")
	case <-time.After(3 * time.Second):
	}
	sess.end(ctx)
}

func TestLinkEnds(t *testing.T) {
	testenv.SkipShort(t, "it takes long")
	for name, end := range map[string]func(*agentProcess){
		"EOF":            func(s *agentProcess) { s.stdin.Close() },
		"too long":       func(s *agentProcess) { s.stdin.Write(bytes.Repeat([]byte("x"), 9<<20)) },
		"SIGTERM":        func(s *agentProcess) { s.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGKILL":        func(s *agentProcess) { s.cmd.Process.Kill() },
		"SIGHUP for all": func(s *agentProcess) { s.signalAll(syscall.SIGHUP) },
	} {
		for _, how := range []string{"halted", "running"} {
			t.Run(name+", "+how, func(t *testing.T) {
				ctx := shortContext(t)
				b := startBusy(t)
				s := startSupervisor(t, b, config{})
				sess := s.start(ctx, time.Hour)
				sess.setBreakpoints(ctx, dap.SourceBreakpoint{Line: b.line("answer")}, dap.SourceBreakpoint{Line: b.line("hot"), Condition: "i < 0"})
				if how == "halted" {
					sess.stopAt(ctx, "slow: before")
				}
				end(s)
				b.waitUntilFree(5 * time.Second)
				s.waitExit(t, 5*time.Second)
				sess.mustHaveEnded(ctx)
			})
		}
	}
}

// signalAll sends a signal to the supervisor and all its processes, as the end of a
// terminal or a login session does.
func (s *agentProcess) signalAll(sig syscall.Signal) {
	for _, pid := range s.processes() {
		syscall.Kill(pid, sig)
	}
}

// Anything but JSON-RPC on the link is answered with an error and has no effect.
func TestGarbageOnTheLink(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, 0)
	sess.stopAt(ctx, "slow: before")
	for _, line := range []string{"\n", "garbage\n", "{}\n", `{"jsonrpc":"2.0","id":7,"method":"detonate"}` + "\n", `[1,2,3]` + "\n"} {
		if _, err := s.stdin.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.client.Target(ctx); err != nil {
		t.Errorf("target, after garbage: %v", err)
	}
	sess.end(ctx)
}

// The agent can be released while an attach waits for the session's descriptors.
func TestLinkEndsDuringTheAttach(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	failed := make(chan error, 1)
	go func() {
		_, err := s.client.Attach(ctx, api.AttachParams{Token: api.NewToken()})
		failed <- err
	}()
	if !testenv.Eventually(10*time.Second, func() bool { pid, _, _ := procfs.FindTracer(b.pid()); return pid != 0 }) {
		t.Fatal("no attach")
	}
	s.stdin.Close()
	b.waitUntilFree(5 * time.Second)
	s.waitExit(t, 5*time.Second)
	if err := <-failed; !errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
		t.Errorf("attach: %v", err)
	}
}
