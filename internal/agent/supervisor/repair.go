//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// kernelTimeout bounds how long the kernel may take to show a released process as
// untraced and running.
const kernelTimeout = 3 * time.Second

// ensureReleased verifies that a process which was debugged is untraced, has no
// stopped thread and has the same text as its file, and repairs what differs. A process
// that has exited is fine. killed means that its debugger did not detach.
func ensureReleased(p process, killed bool, log *slog.Logger) error {
	deadline := time.Now().Add(kernelTimeout)
	restored := false
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		why, untraced := checkReleased(p)
		if untraced && !restored {
			restored = true
			if killed {
				discardStops(p)
			}
			restoreText(p, log)
		}
		if why == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return diag.Errorf(diag.DetachFailed, "pid %d was not released: %s", p.PID, why)
		}
		time.Sleep(pause)
	}
}

// discardStops discards SIGSTOPs that a killed debugger has sent. One may be in flight
// and show nowhere: its thread was stopped to report it to the debugger, runs again,
// and stops a moment later unless a SIGCONT comes first (Linux's kernel/signal.c:
// ptrace_signal, prepare_signal, do_signal_stop).
func discardStops(p process) { syscall.Kill(p.PID, syscall.SIGCONT) }

// restoreText removes breakpoints that a debugger left in the text of a process that
// nobody traces any more.
func restoreText(p process, log *slog.Logger) {
	n, err := procfs.RestoreText(p.PID)
	switch {
	case err != nil && p.isAlive():
		log.Error("cannot compare the target's text with its file", "pid", p.PID, "error", err)
	case n > 0:
		log.Warn("removed breakpoints that the debugger left in the target", "pid", p.PID, "bytes", n)
	}
}

// checkReleased returns what is wrong with the state of a released process, "" if
// nothing, and whether it is alive and untraced. If a thread is stopped, it sends the
// process a SIGCONT.
func checkReleased(p process) (why string, untraced bool) {
	if !p.isAlive() {
		return "", false
	}
	tracer, comm, err := procfs.FindTracer(p.PID)
	if err == nil && tracer != 0 {
		return fmt.Sprintf("it is traced by pid %d (%s)", tracer, comm), false
	}
	states, err := procfs.ReadThreadStates(p.PID)
	if err != nil {
		return "", false // it is exiting
	}
	for tid, st := range states {
		if st == 'T' || st == 't' {
			// Delve's own detach does the same, but only once and for the main thread
			// (pkg/proc/native/proc_linux.go, detach).
			if err := syscall.Kill(p.PID, syscall.SIGCONT); errors.Is(err, syscall.ESRCH) {
				return "", false
			}
			return fmt.Sprintf("thread %d is stopped", tid), true
		}
	}
	return "", true
}

// process identifies a process even if its pid is reused.
type process struct {
	PID        int
	StartTicks uint64
}

func (p process) matches(t api.Process) bool { return p.PID == t.PID && p.StartTicks == t.StartTicks }

func (p process) isAlive() bool {
	now, err := procfs.Find(context.Background(), api.Selector{PID: p.PID})
	return err == nil && p.matches(now)
}

func firstError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
