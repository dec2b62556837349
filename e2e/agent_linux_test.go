package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestAgentDies ends the agent's processes under a session. Whatever they had
// in hand, the target is free afterwards, the IDE is told, and the next session
// has a new agent.
func TestAgentDies(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	for _, tt := range []struct {
		name      string
		situation situation
		signal    syscall.Signal
		whom      []string
		why       string
	}{
		// Delve's own breakpoints, for panics, stay in the text when it is killed.
		{"worker", idle, syscall.SIGKILL, []string{"worker"}, "the debugger ended: signal: killed"},
		{"supervisor, running", running, syscall.SIGKILL, []string{"supervise"}, "the connection to the node was lost"},
		{"supervisor, halted", halted, syscall.SIGKILL, []string{"supervise"}, "the connection to the node was lost"},
		// As a login session's end does it (logind.conf(5), KillUserProcesses).
		{"all, running", running, syscall.SIGTERM, []string{"supervise", "worker", "join", "sudo"}, "dapbridge: the "},
		{"all, halted", halted, syscall.SIGHUP, []string{"supervise", "worker", "join", "sudo"}, "dapbridge: the "},
		{"session's channel", halted, syscall.SIGKILL, []string{"join"}, "the node ended the session"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := s.ide(t)
			defer i.Close()
			pod := tt.situation(t, f, i.Client)
			f.signal(t, tt.signal, tt.whom...)
			s.toldOfTheEnd(t, i.Client, tt.why)
			f.free(t, pid, 10*time.Second)
			s.serves(t)
			f.works(t, pod)
		})
	}
	s.stop(t)
	f.deserted(t, 5*time.Second)
}

// idle lets the target run without breakpoints of the IDE's.
func idle(t *testing.T, _ *fixture, c *dapclient.Client) string {
	t.Helper()
	if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	return ""
}

// signal sends a signal to all processes of ours on the node that are of these
// kinds, all of one kind at least.
func (f *fixture) signal(t *testing.T, signal syscall.Signal, kinds ...string) {
	t.Helper()
	kill := []string{"kill", "-" + strconv.Itoa(int(signal))}
	all := f.ours(t)
	for _, kind := range kinds {
		if len(all[kind]) == 0 {
			t.Fatalf("no %s runs on the node", kind)
		}
		for _, p := range all[kind] {
			kill = append(kill, strconv.Itoa(p.pid))
		}
	}
	if _, err := f.node.Exec(t.Context(), kill...); err != nil {
		t.Fatal(err)
	}
}

// TestNothingLeaks holds what one session leaves in daemon and node against
// what ten leave.
func TestNothingLeaks(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	s.serves(t)
	before := ""
	eventually(t, 5*time.Second, func() string { // the next worker is started ahead
		was := before
		before = f.census(t, s)
		if was != before {
			return "processes come and go: " + before
		}
		time.Sleep(100 * time.Millisecond)
		return ""
	})
	for n := range 10 {
		i := s.ide(t)
		if _, err := i.Attach(short(t), dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		ways()[n%len(ways())].leave(t, i)
		i.Close()
	}
	eventually(t, 10*time.Second, func() string {
		if now := f.census(t, s); now != before {
			return fmt.Sprintf("before ten sessions:\n%s\nafter:\n%s", before, now)
		}
		return ""
	})
	s.cmd.Process.Signal(syscall.SIGQUIT) // the runtime writes all goroutines' stacks
	<-s.ended
	if stacks := s.log.String(); !strings.Contains(stacks, "goroutine 1 ") || strings.Contains(stacks, "(*client)") || strings.Contains(stacks, "(*session)") {
		t.Error("goroutines of sessions are left")
	}
}

// census counts the daemon's descriptors and children, and the descriptors of
// each process on the node.
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
	for kind, all := range f.ours(t) {
		for _, p := range all {
			lines = append(lines, fmt.Sprintf("%s: %d descriptors", kind, p.fds))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
