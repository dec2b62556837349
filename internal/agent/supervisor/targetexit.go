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

// How often to look whether a target has ended, and how long its debugger has to
// tell the client in its own way, or its user to let a halted one run.
const (
	watchPause = 500 * time.Millisecond
	watchGrace = 2 // more looks
)

// successorWait bounds how long a unit may take to start a process again that has
// ended, and successorPause is how often it is looked for.
const (
	successorTimeout = 2 * time.Second
	successorPause   = 50 * time.Millisecond
)

// watchTarget ends the session of a worker whose target has ended, or is to end and
// can't, since it is halted: systemd would wait for that, and then kill it. Delve
// sees an end only while it has the target run, and of its two protocols one alone
// says so.
func (s *supervisor) watchTarget(w *workerProc, p process) {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for over := 0; over <= watchGrace; {
		select {
		case <-w.exited:
			return
		case <-tick.C:
		}
		if p.isAlive() && !p.isTerminating() {
			over = 0
		} else {
			over++
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
		s.cfg.Log.Error("after the target's end", "error", err)
	}
	// Delve may have lost the signal: it keeps one for each thread, and the last it
	// has seen counts (pkg/proc/native, osSpecificDetails).
	if p.waitExit(obeyTimeout); p.isAlive() {
		syscall.Kill(p.PID, syscall.SIGTERM)
		p.waitExit(termTimeout)
	}
	if s.reason = w.describeExit(context.Background()); s.reason == "" {
		s.reason = path.Base(w.target.Exe) + " is asked to end (SIGTERM)"
	}
	s.notify(api.NotifyEnded, api.Ended{Reason: s.reason})
	go s.prestartWorker()
}

// How long a target that was let go may take to obey a SIGTERM, before it gets the
// signal again and after.
const (
	obeyTimeout = time.Second
	termTimeout = 5 * time.Second
)

// toEnd reports whether a SIGTERM waits for the process.
func (p process) isTerminating() bool {
	mask, err := procfs.ReadPendingSignals(p.PID)
	return err == nil && mask&(1<<(syscall.SIGTERM-1)) != 0
}

// await returns when the process has ended, at the latest after a time.
func (p process) waitExit(limit time.Duration) {
	for deadline := time.Now().Add(limit); p.isAlive() && time.Now().Before(deadline); {
		time.Sleep(successorPause)
	}
}

// fate says what has become of a worker's target that has ended; "" of one that
// lives, or that was let go for what then happened to it.
func (w *workerProc) describeExit(ctx context.Context) string {
	if w.attached == nil || w.attached.isAlive() {
		return ""
	}
	if e := w.last.Load(); e != nil && e.Preempted {
		return ""
	}
	old := w.target
	text := fmt.Sprintf("%s has ended: pid %d", path.Base(old.Exe), old.PID)
	if pid := findSuccessor(ctx, old); pid != 0 {
		text += fmt.Sprintf("; its unit runs again as pid %d: start debugging again to attach to that", pid)
	}
	return text
}

// successor returns the process that a unit has started in place of one that has
// ended, 0 if none comes in time.
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
