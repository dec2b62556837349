package procfs

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func statesOf(t *testing.T, pid int) map[int]byte {
	t.Helper()
	states, err := ReadThreadStates(pid)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// allIn reports whether all threads are in that state.
func allIn(states map[int]byte, state byte) bool {
	for _, s := range states {
		if s != state {
			return false
		}
	}
	return len(states) > 0
}

func TestThreadStates(t *testing.T) {
	path := copyOf(t, exetest.Build(t, "sleeper"), ") R 1 2\n3 (")
	pid := start(t, exec.Command(path, "8"))
	waitFor(t, func() bool { return len(statesOf(t, pid)) > 8 })
	if states := statesOf(t, pid); allIn(states, 'T') || states[pid] == 0 {
		t.Error(states)
	}
	kill(t, pid, syscall.SIGSTOP)
	waitFor(t, func() bool { return allIn(statesOf(t, pid), 'T') })
}

func TestPendingSignals(t *testing.T) {
	pid := start(t, exec.Command(exetest.Build(t, "sleeper"), "8"))
	if mask, err := ReadPendingSignals(pid); err != nil || mask != 0 {
		t.Errorf("%#x, %v", mask, err)
	}
	kill(t, pid, syscall.SIGSTOP)
	waitFor(t, func() bool { return allIn(statesOf(t, pid), 'T') })
	kill(t, pid, syscall.SIGUSR1) // pending for the process
	tid := pid
	for other := range statesOf(t, pid) {
		tid = max(tid, other)
	}
	if err := syscall.Tgkill(pid, tid, syscall.SIGTRAP); err != nil { // pending for one thread
		t.Fatal(err)
	}
	want := uint64(1<<(syscall.SIGUSR1-1) | 1<<(syscall.SIGTRAP-1))
	if mask, err := ReadPendingSignals(pid); err != nil || mask != want {
		t.Errorf("%#x, %v, want %#x", mask, err, want)
	}
}

func TestTracer(t *testing.T) {
	path := exetest.Build(t, "sleeper")
	pid := start(t, exec.Command(path, "2"))
	if tracer, comm, err := FindTracer(pid); tracer != 0 || comm != "" || err != nil {
		t.Errorf("%d %q %v", tracer, comm, err)
	}
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	thread := 0
	for tid := range statesOf(t, pid) {
		thread = max(thread, tid)
	}
	if err := syscall.PtraceAttach(thread); err != nil {
		testenv.Skipf(t, "no ptrace here: %v", err)
	}
	if _, err := syscall.Wait4(thread, nil, syscall.WALL, nil); err != nil {
		t.Fatal(err)
	}
	tracer, comm, err := FindTracer(pid)
	if tracer != os.Getpid() || !strings.HasPrefix(comm, os.Args[0]) || err != nil {
		t.Errorf("%d %q %v", tracer, comm, err)
	}
	if states := statesOf(t, pid); states[thread] != 't' {
		t.Error(states)
	}
	untraced, err := FindUntracedThreads(pid)
	if err != nil {
		t.Error(err)
	}
	if slices.Contains(untraced, thread) {
		t.Errorf("the traced thread %d is among the untraced %v", thread, untraced)
	}
	if !slices.Contains(untraced, pid) {
		t.Errorf("the main thread %d is not among the untraced %v", pid, untraced)
	}
	if err := syscall.PtraceDetach(thread); err != nil {
		t.Error(err)
	}
	if tracer, _, err := FindTracer(pid); tracer != 0 || err != nil {
		t.Error(tracer, err)
	}
}

func TestNoProcess(t *testing.T) {
	const none = 1 << 30
	_, _, err1 := FindTracer(none)
	_, err2 := ReadThreadStates(none)
	_, err3 := ReadPendingSignals(none)
	_, err4 := CompareText(none)
	_, err5 := RestoreText(none)
	_, err6 := OpenExe(none)
	_, err7 := FindUntracedThreads(none)
	for i, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
		if diag.CodeOf(err) != diag.TargetGone {
			t.Error(i+1, err)
		}
	}
}

func BenchmarkPendingSignals(b *testing.B) {
	pid := start(b, exec.Command(exetest.Build(b, "sleeper"), "30"))
	for b.Loop() {
		if _, err := ReadPendingSignals(pid); err != nil {
			b.Fatal(err)
		}
	}
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(fmt.Errorf("%v to %d: %w", signal, pid, err))
	}
}
