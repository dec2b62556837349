package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestAgentDies ends processes of the agent during a session. In any situation the
// target is released, the IDE gets the reason, and the next session starts a new agent.
func TestAgentDies(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	const ( // or how the IDE is told
		lost = "the connection to the node was lost"
		gone = "the node ended the session|the session ended on the node|" + lost
	)
	for _, tt := range []struct {
		name      string
		situation situation
		signal    syscall.Signal
		whom      []string
		why       string
	}{
		// A killed Delve leaves its own breakpoints for panics in the text.
		{"worker", runIdle, syscall.SIGKILL, []string{"worker"}, "the debugger ended: signal: killed"},
		{"supervisor, running", runUnderLoad, syscall.SIGKILL, []string{"supervise"}, lost},
		{"supervisor, halted", haltTarget, syscall.SIGKILL, []string{"supervise"}, lost},
		// As at the end of a login session (logind.conf(5), KillUserProcesses).
		{"all, running", runUnderLoad, syscall.SIGTERM, []string{"supervise", "worker", "join", "sudo"}, gone},
		{"all, halted", haltTarget, syscall.SIGHUP, []string{"supervise", "worker", "join", "sudo"}, gone},
		{"session's channel", haltTarget, syscall.SIGKILL, []string{"join"}, gone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pid := f.containerd(t)
			i := s.ide(t)
			defer i.Close()
			pod := tt.situation(t, f, i.Client)
			f.signal(t, tt.signal, tt.whom...)
			s.toldOfTheEnd(t, i.Client, tt.why)
			f.waitFree(t, pid, 10*time.Second)
			s.checkServes(t)
			f.checkWorks(t, pod)
		})
	}
	s.stop(t)
	f.waitDeserted(t, 5*time.Second)
}

// TestNoChannel has the command fail that connects a session's channel to the worker.
// The worker attaches meanwhile, and must not wait for the channel with the target
// halted.
func TestNoChannel(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	sudo := filepath.Join(f.node.RootFS(), "usr/local/bin/sudo") // first in the search path
	script := "#!/bin/sh\ncase \"$*\" in *' agent join '*) echo no more sessions >&2; exit 1; esac\nexec /usr/bin/sudo \"$@\"\n"
	if err := os.WriteFile(sudo, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(sudo) })
	i := s.ide(t)
	defer i.Close()
	start := time.Now()
	if _, err := i.Attach(short(t), dapclient.AttachOptions{}); err == nil || !strings.Contains(err.Error(), "no more sessions") {
		t.Errorf("attached without a channel: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("refused after %s", took)
	}
	f.waitFree(t, pid, 5*time.Second)
	os.Remove(sudo)
	s.checkServes(t)
}

// runIdle lets the target run without breakpoints of the IDE.
func runIdle(t *testing.T, _ *fixture, c *dapclient.Client) string {
	t.Helper()
	if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	return ""
}

// signal sends a signal to all processes of dapbridge on the node of these kinds, and
// fails the test if a kind has none.
func (f *fixture) signal(t *testing.T, signal syscall.Signal, kinds ...string) {
	t.Helper()
	kill := []string{"kill", "-" + strconv.Itoa(int(signal))}
	all := f.agentProcesses(t)
	for _, kind := range kinds {
		if len(all[kind]) == 0 {
			t.Fatalf("no %s runs on the node", kind)
		}
		for _, p := range all[kind] {
			kill = append(kill, strconv.Itoa(p.pid))
		}
	}
	if _, err := f.node.Exec(t.Context(), kill...); err != nil && !strings.Contains(err.Error(), "No such process") {
		t.Fatal(err)
	}
}

// TestNothingLeaks compares the resources in use after eleven sessions with those after
// one, in the daemon and on the node.
func TestNothingLeaks(t *testing.T) {
	f := setupAll(t)
	one, few := f.after(t, 1, "")
	_, many := f.after(t, 11, one)
	if many > few+5 { // some come and go
		t.Errorf("the daemon has %d goroutines after one session, and %d after eleven", few, many)
	}
}

// after serves sessions with a new daemon and returns what is in use afterwards: a
// census, which must become equal to like unless that is empty, and the number of
// goroutines of the daemon.
func (f *fixture) after(t *testing.T, sessions int, like string) (census string, goroutines int) {
	t.Helper()
	s := f.serve(t)
	for n := range sessions {
		i := s.ide(t)
		if _, err := i.Attach(short(t), dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		ways()[n%len(ways())].leave(t, i)
		i.Close()
	}
	eventually(t, 10*time.Second, func() string {
		was := census
		census = f.census(t, s)
		switch {
		case like != "" && census != like:
			return fmt.Sprintf("after one session:\n%s\nafter %d:\n%s", like, sessions, census)
		case like == "" && (census != was || !strings.Contains(census, "worker")):
			time.Sleep(200 * time.Millisecond) // the next worker is being started
			return "still changing: " + census
		}
		return ""
	})
	s.cmd.Process.Signal(syscall.SIGQUIT) // the runtime writes all goroutines' stacks
	s.exit(t, 10*time.Second)
	return census, strings.Count(s.log.String(), "\ngoroutine ")
}

// census counts the descriptors and children of the daemon, and the descriptors of each
// process on the node.
func (f *fixture) census(t *testing.T, s *server) string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("%stask/%d/children", proc, s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{fmt.Sprintf("daemon: %d descriptors, children %q", len(fds), children)}
	for kind, all := range f.agentProcesses(t) {
		for _, p := range all {
			lines = append(lines, fmt.Sprintf("%s: %d descriptors", kind, p.fds))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
