//go:build linux

package supervisor_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/agent/worker"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// agentProcess is an agent for one target: a supervisor process, and the daemon's end
// of its link.
type agentProcess struct {
	t       testing.TB
	target  *busy
	cmd     *exec.Cmd
	client  *link.Client
	closing sync.Once
	stdin   *os.File // the daemon's end, for tests that break it
	log     testenv.Buffer
	ended   chan api.Ended // reports of sessions that ended
	exited  chan struct{}
	dlv     string // see config
	mark    string // in the environment of the supervisor and its children

	functionTable bool         // is to do for a stripped target
	symbols       *api.Symbols // of a stripped target
}

// config holds what a test may change.
type config struct {
	lease time.Duration // of the supervisor
	pings time.Duration // the lease by which the daemon pings; 0 means the same
	dlv   string        // the supervisor.Dlv that debugs the target
}

// daemonName is the name of the tests' daemon.
const daemonName = "pid 4711 of alice on devbox"

// startSupervisor starts an agent for the target. At the end of the test it is
// released, if it has not exited, and must leave no process behind, and the target, if
// alive, as it was.
func startSupervisor(t testing.TB, b *busy, c config) *agentProcess {
	t.Helper()
	if c.lease == 0 {
		c.lease = 30 * time.Second
	}
	if c.pings == 0 {
		c.pings = c.lease
	}
	s := &agentProcess{
		t: t, target: b, dlv: c.dlv, ended: make(chan api.Ended, 16), exited: make(chan struct{}),
		mark: "DAPBRIDGE_TEST_AGENT=" + api.NewToken(),
	}
	s.cmd = exec.Command("/proc/self/exe", api.SuperviseArgs(api.Selector{PID: b.pid()}, c.lease, daemonName, c.dlv)...)
	s.cmd.Env = append(os.Environ(), s.mark)
	s.cmd.Stderr = &s.log
	in, stdin, stdout, out := pipes(t)
	s.cmd.Stdin, s.cmd.Stdout, s.stdin = in, out, stdin
	err := s.cmd.Start()
	in.Close()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		s.cmd.Wait()
	}()
	s.connect(stdout, c.pings)
	return s
}

// superviseInProcess is startSupervisor with the supervisor in this process.
func superviseInProcess(t testing.TB, b *busy) *agentProcess {
	t.Helper()
	s := &agentProcess{t: t, target: b, ended: make(chan api.Ended, 64), exited: make(chan struct{})}
	token := api.NewToken()
	t.Setenv("DAPBRIDGE_TEST_AGENT", token) // for the workers: this process's own environ file is older
	s.mark = "DAPBRIDGE_TEST_AGENT=" + token
	capabilities, err := worker.Capabilities()
	if err != nil {
		t.Fatal(err)
	}
	in, stdin, stdout, out := pipes(t)
	s.stdin = stdin
	go func() {
		defer close(s.exited)
		if err := supervisor.Supervise(context.WithoutCancel(t.Context()), supervisor.Config{
			Protocol: api.Protocol, Capabilities: capabilities, Selector: api.Selector{PID: b.pid()},
			Lease: 30 * time.Second, WorkerArgv: workerArgv(), In: in, Out: out,
			Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		}); err != nil {
			t.Error(err)
		}
		in.Close()
		out.Close()
	}()
	s.connect(stdout, 30*time.Second)
	return s
}

// pipes returns two pipes, named after a process's standard streams and their other
// ends.
func pipes(t testing.TB) (in, stdin, stdout, out *os.File) {
	t.Helper()
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if stdout, out, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	return in, stdin, stdout, out
}

// connect opens the daemon's end of the link.
func (s *agentProcess) connect(stdout *os.File, pings time.Duration) {
	s.t.Helper()
	s.t.Cleanup(func() { stdout.Close() })
	var err error
	s.client, err = link.Connect(stdout, s.stdin, link.Timing{Lease: pings}, link.Events{
		Log:   func(l api.LogLine) { fmt.Fprintln(&s.log, l.Level, l.Text) },
		Ended: func(e api.Ended) { s.ended <- e },
	})
	if err != nil {
		if s.cmd != nil {
			s.cmd.Process.Kill()
		}
		s.t.Fatalf("%v\n%s", err, &s.log)
	}
	s.t.Cleanup(s.finish)
}

// finish releases the agent as a daemon does, and checks that nothing is left.
func (s *agentProcess) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	released := s.client.Release(ctx)
	s.closing.Do(s.client.Close)
	select {
	case <-s.exited:
	case <-ctx.Done():
		s.t.Errorf("the supervisor does not leave (release: %v)", released)
		if s.cmd != nil {
			s.cmd.Process.Kill()
			<-s.exited
		}
	}
	if !testenv.Eventually(10*time.Second, func() bool { return len(s.processes()) == 0 }) {
		s.t.Errorf("processes are left: %v", s.processes())
		for _, pid := range s.processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if s.target.isAlive() && s.dlv == "" {
		if why := s.target.whyNotFree(); why != "" {
			s.t.Errorf("the agent has left, and the target is not free: %s", why)
		}
	}
	log := s.log.String()
	if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") || strings.Contains(log, "goroutine ") {
		s.t.Error("the agent crashed or has a data race")
	}
	if s.t.Failed() {
		s.t.Logf("the agent said:\n%s", log)
	}
}

// processes returns the supervisor, while it is alive, and all processes that it
// started.
func (s *agentProcess) processes() (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err == nil && bytes.Contains(env, []byte(s.mark)) {
			var pid int
			fmt.Sscan(filepath.Base(dir), &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// workerPID returns the pid of the process that traces the target.
func (s *agentProcess) workerPID() int {
	s.t.Helper()
	pid, _, err := procfs.FindTracer(s.target.pid())
	if err != nil || pid == 0 {
		s.t.Fatalf("nobody traces the target: %v", err)
	}
	return pid
}

// waitEnded waits for the report of a session that ended by itself.
func (s *agentProcess) waitEnded(ctx context.Context) api.Ended {
	s.t.Helper()
	select {
	case e := <-s.ended:
		return e
	case <-ctx.Done():
		s.t.Fatal("the agent does not say that the session ended")
		return api.Ended{}
	}
}

// shortContext bounds a test that waits for a debugger.
func shortContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	t.Cleanup(cancel)
	return ctx
}
