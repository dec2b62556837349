//go:build linux

package supervisor

import (
	"context"
	"fmt"
	"path"
	"syscall"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
)

// exitPause is how often to check whether a target has exited. exitGrace is how many
// more checks to wait, for the debugger to tell the client in its own way, or for the
// user to resume a halted target.
const (
	exitPause = 500 * time.Millisecond
	exitGrace = 2
)

// successorTimeout bounds how long a unit may take to restart a process that has
// exited, and successorPause is how often to look for it.
const (
	successorTimeout = 2 * time.Second
	successorPause   = 50 * time.Millisecond
)

// watchTarget ends the session of a worker whose target has exited, or should exit but
// cannot because it is halted: systemd would wait for it and then kill it. Delve
// notices an exit only while the target runs, and only one of its two protocols reports
// it.
func (s *supervisor) watchTarget(w *workerProc, p process) {
	tick := time.NewTicker(exitPause)
	defer tick.Stop()
	for misses := 0; misses <= exitGrace; {
		select {
		case <-w.exited:
			return
		case <-tick.C:
		}
		if p.isAlive() && !p.isTerminating() {
			misses = 0
		} else {
			misses++
		}
	}
	if s.lock(context.Background()) != nil {
		return
	}
	defer s.unlock()
	if s.worker != w {
		return
	}
	if err := s.retireWorker(w); err != nil {
		s.cfg.Log.Error("cannot retire the worker of a target that has exited", "error", err)
	}
	// Delve may have lost the signal: it keeps one per thread, and a later one replaces
	// it (pkg/proc/native, osSpecificDetails).
	if p.waitExit(obeyTimeout); p.isAlive() {
		syscall.Kill(p.PID, syscall.SIGTERM)
		p.waitExit(termTimeout)
	}
	if s.reason = w.describeExit(context.Background()); s.reason == "" {
		s.reason = path.Base(w.target.Exe) + " was asked to exit (SIGTERM)"
	}
	s.notify(api.NotifyEnded, api.Ended{Reason: s.reason})
	s.wg.Go(s.prestartWorker)
}

// obeyTimeout bounds how long a released target may take to obey a pending SIGTERM
// before it is sent again, and termTimeout how long it may take after that.
const (
	obeyTimeout = time.Second
	termTimeout = 5 * time.Second
)

// isTerminating reports whether a SIGTERM is pending for the process.
func (p process) isTerminating() bool {
	mask, err := procfs.ReadPendingSignals(p.PID)
	return err == nil && mask&(1<<(syscall.SIGTERM-1)) != 0
}

// waitExit waits until the process has exited, or the limit has passed.
func (p process) waitExit(limit time.Duration) {
	for deadline := time.Now().Add(limit); p.isAlive() && time.Now().Before(deadline); {
		time.Sleep(successorPause)
	}
}

// describeExit says how a worker's target has exited; "" if it is alive, or was
// released for a deploy or restore.
func (w *workerProc) describeExit(ctx context.Context) string {
	if w.attached == nil || w.attached.isAlive() {
		return ""
	}
	if e := w.lastEnded.Load(); e != nil && e.Preempted {
		return ""
	}
	old := w.target
	text := fmt.Sprintf("%s has ended: pid %d", path.Base(old.Exe), old.PID)
	if pid := findSuccessor(ctx, old); pid != 0 {
		text += fmt.Sprintf("; its unit runs again as pid %d: start debugging again to attach to it", pid)
	}
	return text
}

// findSuccessor returns the process that a unit has started in place of one that has
// exited, 0 if it does not do so in time.
func findSuccessor(ctx context.Context, old api.Process) int {
	ctx, cancel := context.WithTimeout(ctx, successorTimeout)
	defer cancel()
	for old.Unit != "" {
		list, err := procfs.ListProcesses(ctx)
		if err != nil {
			return 0
		}
		for _, p := range list {
			if p.Unit == old.Unit && p.Parent == old.Parent && p.Exe == old.Exe && p.PID != old.PID {
				return p.PID
			}
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(successorPause):
		}
	}
	return 0
}
