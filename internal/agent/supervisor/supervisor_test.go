//go:build linux

package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
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

func TestSessionsOneAfterTheOther(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	h := s.client.Hello()
	if h.Target == nil {
		t.Fatalf("the hello has no target: %v", h.TargetError)
	}
	testenv.Equal(t, "target's PID", h.Target.PID, b.pid())
	testenv.Equal(t, "supervisor's PID", h.PID, s.cmd.Process.Pid)
	workers := map[int]bool{}
	for range 3 {
		sess := s.start(ctx, 0)
		sess.stopAt(ctx, "slow: before")
		workers[s.workerPID()] = true
		b.mustBeHalted()
		sess.end(ctx)
	}
	if len(workers) != 3 || workers[s.cmd.Process.Pid] {
		t.Errorf("3 sessions had the tracers %v; the supervisor is pid %d", workers, s.cmd.Process.Pid)
	}
	if reason, err := s.client.EndSession(ctx); reason != "" || err != nil {
		t.Errorf("end without a session: %q, %v", reason, err)
	}
}

// TestSources lists the target's source files, without a session.
func TestSources(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	target := *s.client.Hello().Target
	sources, err := s.client.Sources(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range sources.Dirs {
		if d.Package == "main" && slices.Contains(d.Files, "main.go") && path.Join(d.Dir, "main.go") == target.Build.MainFile {
			target.PID = 1 << 30
			if _, err := s.client.Sources(ctx, target); diag.CodeOf(err) != diag.TargetGone {
				t.Errorf("of no process: %v", err)
			}
			return
		}
	}
	t.Errorf("no main package among %+v", sources.Dirs)
}

// TestSource reads a source file of the target. All other files are refused.
func TestSource(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	target := *s.client.Hello().Target
	file := target.Build.MainFile
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the cache
		if text, err := s.client.Source(ctx, target, file); err != nil || string(text) != string(want) {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
	}
	r, err := s.client.Lines(ctx, target, file)
	if err != nil || len(r.Lines) == 0 {
		t.Fatalf("lines %v, %v", r.Lines, err)
	}
	if last, all := r.Lines[len(r.Lines)-1], strings.Count(string(want), "\n"); last > all {
		t.Errorf("line %d of %d has code", last, all)
	}
	if r.Built.IsZero() || r.Age < 0 {
		t.Errorf("built at %v, %v ago", r.Built, r.Age)
	}
	other := path.Join(path.Dir(file), "other.go")
	for _, file := range []string{"/etc/shadow", "main.go", "", other, file + "/../main.go"} {
		if text, err := s.client.Source(ctx, target, file); diag.CodeOf(err) != diag.SourceMissing {
			t.Errorf("%s: %d bytes, %v", file, len(text), err)
		}
		if _, err := s.client.Lines(ctx, target, file); diag.CodeOf(err) != diag.SourceMissing {
			t.Errorf("the lines of %s: %v", file, err)
		}
	}
	target.StartTicks++
	if _, err := s.client.Source(ctx, target, file); diag.CodeOf(err) != diag.TargetGone {
		t.Errorf("of another process: %v", err)
	}
}

// TestTargetBusy starts a second agent during a session of the first one: its error
// names the first one's daemon.
func TestTargetBusy(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	sess := startSupervisor(t, b, config{}).start(ctx, 0)
	err := startSupervisor(t, b, config{}).client.Hello().TargetError
	if !errors.Is(err, &diag.Error{Code: diag.TargetBusy}) {
		t.Fatalf("the second agent's error is %v", err)
	}
	if want := "another dapbridge: " + daemonName; !strings.Contains(err.Summary, want) {
		t.Errorf("%q lacks %q", err.Summary, want)
	}
	sess.end(ctx)
}

func TestMissingTarget(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	b.cmd.Process.Kill()
	<-b.ended
	if _, err := s.open(ctx, 0); !errors.Is(err, &diag.Error{Code: diag.TargetNone}) {
		t.Errorf("attach to a process that has ended: %v", err)
	}
	if _, err := s.client.Target(ctx); !errors.Is(err, &diag.Error{Code: diag.TargetNone}) {
		t.Errorf("target: %v", err)
	}
}

func TestTargetEndsDuringASession(t *testing.T) {
	for _, how := range []string{"halted", "running"} {
		t.Run(how, func(t *testing.T) {
			ctx := shortContext(t)
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			sess := s.start(ctx, time.Hour)
			if how == "halted" {
				sess.stopAt(ctx, "slow: before")
			}
			b.cmd.Process.Kill()
			if how == "running" {
				<-b.ended // the parent of a halted one is notified only after its tracer (ptrace(2))
			}
			if _, err := s.client.EndSession(ctx); err != nil {
				t.Errorf("end: %v", err)
			}
			<-b.ended
			if _, err := s.open(ctx, 0); !errors.Is(err, &diag.Error{Code: diag.TargetNone}) {
				t.Errorf("attach: %v", err)
			}
		})
	}
}

func TestClientLeaves(t *testing.T) {
	for _, how := range []string{"halted", "running"} {
		t.Run(how, func(t *testing.T) {
			ctx := shortContext(t)
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			sess := s.start(ctx, 0)
			sess.setBreakpoints(ctx, dap.SourceBreakpoint{Line: b.line("answer")})
			if how == "halted" {
				sess.stopAt(ctx, "slow: before")
			}
			sess.Client.Close()
			e := s.waitEnded(ctx)
			b.mustBeFree()
			if e.Lingers || e.Reason != "its channel was closed" {
				t.Errorf("%+v", e)
			}
			if reason, err := s.client.EndSession(ctx); reason != "its channel was closed" || err != nil {
				t.Errorf("end: %q, %v", reason, err)
			}
			s.start(ctx, 0).end(ctx)
		})
	}
}

func TestDisconnect(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, 0)
	sess.stopAt(ctx, "slow: before")
	if err := sess.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
	s.waitEnded(ctx)
	b.mustBeFree()
	sess.mustHaveEnded(ctx)
}

func TestWorkerKilled(t *testing.T) {
	for _, linger := range []time.Duration{0, time.Hour} {
		t.Run(linger.String(), func(t *testing.T) {
			ctx := shortContext(t)
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			sess := s.start(ctx, linger)
			if diff, err := procfs.CompareText(b.pid()); err != nil || len(diff) == 0 {
				t.Fatalf("Delve has set no breakpoints of its own: %v", err)
			}
			if linger > 0 {
				if _, err := s.client.EndSession(ctx); err != nil {
					t.Fatal(err)
				}
			}
			syscall.Kill(s.workerPID(), syscall.SIGKILL)
			e := s.waitEnded(ctx)
			b.mustBeFree()
			sess.mustHaveEnded(ctx)
			if e.Lingers || !strings.Contains(e.Reason, "signal: killed") {
				t.Errorf("%+v", e)
			}
			s.start(ctx, 0).end(ctx)
		})
	}
}

// A daemon that cancels an attach does not leave the target halted.
func TestAttachGivenUp(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	giveUp, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		_, err := s.client.Attach(giveUp, api.AttachParams{Token: api.NewToken()}) // for which no descriptors arrive
		failed <- err
	}()
	if !testenv.Eventually(10*time.Second, func() bool { pid, _, _ := procfs.FindTracer(b.pid()); return pid != 0 }) {
		t.Fatal("no attach")
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("attach: %v", err)
	}
	b.waitUntilFree(5 * time.Second)
	s.start(ctx, 0).end(ctx)
}

func TestSuperviseRefusesAnotherProtocol(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "agent", "supervise", "--protocol", "99")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err == nil || !strings.Contains(log.String(), "the daemon 99") {
		t.Errorf("%v, %q", err, log.String())
	}
	var hello api.Hello // lets the daemon report the versions
	if err := json.Unmarshal(out.Bytes(), &hello); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	testenv.Equal(t, "Protocol", hello.Protocol, api.Protocol)
	testenv.Equal(t, "Version", hello.Version, "test")
	testenv.Equal(t, "Socket", hello.Socket, "")
}

// The supervisor, run in this process, keeps no files or goroutines of a session.
func TestSupervisorKeepsNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	b := startBusy(t)
	s := superviseInProcess(t, b)
	for range 2 {
		s.start(ctx, 0).end(ctx)
	}
	s.waitForNextWorker(ctx)
	files, goroutines := openFiles(t, os.Getpid()), runtime.NumGoroutine()
	for i := range 20 {
		sess := s.start(ctx, 0)
		if i%2 == 0 {
			sess.end(ctx)
			continue
		}
		sess.Client.Close()
		s.waitEnded(ctx)
		sess.mustHaveEnded(ctx)
	}
	b.mustBeFree()
	if !testenv.Eventually(5*time.Second, func() bool { return openFiles(t, os.Getpid()) <= files && runtime.NumGoroutine() <= goroutines }) {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d files and %d goroutines before 20 sessions, %d and %d after\n%s",
			files, goroutines, openFiles(t, os.Getpid()), runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
	}
}

// waitForNextWorker waits until the supervisor has started the worker for the next
// session.
func (s *agentProcess) waitForNextWorker(ctx context.Context) {
	s.t.Helper()
	if !testenv.Eventually(10*time.Second, func() bool { return len(s.processes()) > 0 }) {
		s.t.Fatal("no worker is started for the next session")
	}
	// Whoever starts a worker holds the lock, and this call waits for it.
	if _, err := s.client.EndSession(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// openFiles counts the descriptors of a process.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
