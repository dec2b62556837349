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

// settleTimeout bounds how long the kernel may take to show a process that was
// let go as untraced and running.
const kernelTimeout = 3 * time.Second

// settle sees for itself that a process which was debugged is untraced, has no
// stopped thread and has the text of its file, and repairs what is not so. A
// process that has ended is settled. killed says that its debugger did not detach.
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
			return diag.Errorf(diag.DetachFailed, "pid %d was not let go: %s", p.PID, why)
		}
		time.Sleep(pause)
	}
}

// dropStops takes back the SIGSTOPs of a debugger that is gone. One may be under way
// where it shows nowhere: its thread was stopped to tell the debugger of it, runs
// again, and obeys it a moment later, unless a SIGCONT comes before (Linux's
// kernel/signal.c: ptrace_signal, prepare_signal, do_signal_stop).
func discardStops(p process) { syscall.Kill(p.PID, syscall.SIGCONT) }

// restore takes out what a debugger left in the text of a process that nobody
// traces any more.
func restoreText(p process, log *slog.Logger) {
	n, err := procfs.RestoreText(p.PID)
	switch {
	case err != nil && p.isAlive():
		log.Error("comparing the target's text with its file", "pid", p.PID, "error", err)
	case n > 0:
		log.Warn("the debugger left breakpoints in the target; restored", "pid", p.PID, "bytes", n)
	}
}

// unsettled says what keeps a process from being as it was, "" if nothing, and
// whether it is alive and untraced.
func checkReleased(p process) (why string, untraced bool) {
	if !p.isAlive() {
		return "", false
	}
	tracer, comm, err := procfs.FindTracer(p.PID)
	if err == nil && tracer != 0 {
		return fmt.Sprintf("traced by pid %d (%s)", tracer, comm), false
	}
	states, err := procfs.ReadThreadStates(p.PID)
	if err != nil {
		return "", false // it ends just now
	}
	for tid, st := range states {
		if st == 'T' || st == 't' {
			// Delve's own detach does the same, once and for the main thread
			// only (pkg/proc/native/proc_linux.go, detach).
			if err := syscall.Kill(p.PID, syscall.SIGCONT); errors.Is(err, syscall.ESRCH) {
				return "", false
			}
			return fmt.Sprintf("thread %d is stopped", tid), true
		}
	}
	return "", true
}

// process is a pid that can't be mistaken for a later process with the same.
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
