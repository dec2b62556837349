package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The first line of CreateContainer of the CRI server: its file in containerd's source,
// and the code on it.
const (
	createContainerFile = "internal/cri/server/container_create.go"
	createContainerCode = "config := r.GetConfig()"
)

// lineOf returns the number of the first line with the code in a file of the user.
func (f *fixture) lineOf(t testing.TB, name, code string) int {
	t.Helper()
	return lineIn(t, f.file(name), code)
}

// lineIn returns the number of the first line with the code in a file.
func lineIn(t testing.TB, file, code string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(data), code)
	if !found {
		t.Fatalf("no %q in %s", code, file)
	}
	return strings.Count(before, "\n") + 1
}

// containerd returns the pid of containerd in the node's pid namespace.
func (f *fixture) containerd(t testing.TB) int {
	t.Helper()
	pid, err := f.node.ContainerdPID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// waitFree waits until the process runs untraced with the text of its file, and fails
// the test if that takes too long.
func (f *fixture) waitFree(t testing.TB, pid int, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		why := f.whyHeld(pid)
		if why == "" {
			break
		}
		if time.Now().After(deadline) {
			// Only the messages of Go's runtime and of systemd, not containerd's own.
			log, _ := f.node.Exec(t.Context(), "sh", "-c", "journalctl --unit=containerd --output=cat --no-pager | grep -v ' level=' | head -200")
			t.Fatalf("containerd is not free after %s: %s\nIts log:\n%s", within, why, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if now := f.containerd(t); now != pid {
		t.Fatalf("containerd was pid %d and is %d now", pid, now)
	}
}

// whyHeld returns the reason why the process is not in its original state, or "".
func (f *fixture) whyHeld(pid int) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if tracer, err := f.node.TracerPid(ctx, pid); err != nil || tracer != 0 {
		return fmt.Sprintf("traced by %d (%v)", tracer, err)
	}
	states, err := f.node.ThreadStates(ctx, pid)
	if err != nil {
		return err.Error()
	}
	for tid, st := range states {
		if st == 'T' || st == 't' {
			return fmt.Sprintf("thread %d is in state %c", tid, st)
		}
	}
	if diff, err := f.node.TextEqualsFile(ctx, pid); err != nil || len(diff) > 0 {
		return fmt.Sprintf("its text differs from its file at %#x (%v)", diff, err)
	}
	return ""
}

// startPod has kubelet create a pod and returns its name. The pod is removed with the
// test.
func (f *fixture) startPod(t testing.TB) string {
	t.Helper()
	name := podName()
	if err := f.node.StartPod(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.node.RemovePod(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// waitPod waits until the container of the pod runs.
func (f *fixture) waitPod(t testing.TB, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.node.WaitPod(ctx, name); err != nil {
		t.Fatal(err)
	}
}

func podName() string { return fmt.Sprintf("pod-%d", time.Now().UnixNano()%1e9) }
