//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/debugger"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// debuggee is a process that Delve is attached to.
type debuggee struct {
	*debugger.Debugger
	config  debugger.Config
	pid     int
	log     *slog.Logger
	running chan error // result of a continue that resume issued; nil if none is under way
}

// How long to try to attach, and the pause between attempts.
const (
	attachTimeout = 10 * time.Second
	attachPause   = 10 * time.Millisecond
)

// attach attaches Delve to the process. Delve's attach sometimes fails because a
// thread exits meanwhile, or misses a thread that starts meanwhile, so it is retried
// until ctx ends. symbols is the directory with the debug file of a stripped target.
func attach(ctx context.Context, pid int, symbols string, log *slog.Logger) (*debuggee, error) {
	d := &debuggee{pid: pid, log: log, config: debugger.Config{AttachPid: pid, Backend: "native"}}
	if symbols != "" {
		d.config.DebugInfoDirectories = []string{symbols}
	}
	err := errors.New("the attach was cancelled")
	for deadline := time.Now().Add(attachTimeout); ctx.Err() == nil && time.Now().Before(deadline); {
		if d.Debugger, err = debugger.New(&d.config, nil); err == nil {
			if err = d.checkAttached(); err == nil {
				return d, nil
			}
		}
		log.Debug("cannot attach", "error", err)
		if errors.Is(err, syscall.EPERM) || strings.Contains(err.Error(), "operation not permitted") ||
			strings.Contains(err.Error(), noDebugInfo) || d.hasEnded() {
			break
		}
		time.Sleep(attachPause)
	}
	return nil, explainAttach(pid, err)
}

// noDebugInfo is Delve's error for a stripped target (pkg/proc/bininfo.go).
const noDebugInfo = "could not open debug info"

// checkAttached verifies that every thread of the target is traced, and detaches if
// not. Delve lists the threads only once, while all but the main one still run and may
// start another (pkg/proc/native/proc_linux.go, updateThreadList). A missed thread
// would die at the first breakpoint, and the target with it.
func (d *debuggee) checkAttached() error {
	missed, err := procfs.FindUntracedThreads(d.pid)
	if err == nil && len(missed) > 0 {
		err = fmt.Errorf("thread %d started during the attach", missed[0])
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, d.Detach(false))
}

func explainAttach(pid int, err error) error {
	if tracer, comm, terr := procfs.FindTracer(pid); terr == nil && tracer != 0 && tracer != os.Getpid() {
		return supervisor.NewTracedError(pid, tracer, comm)
	}
	switch {
	case strings.Contains(err.Error(), "operation not permitted"):
		return procfs.ExplainRefusal(diag.Errorf(diag.PtraceRefused, "the node forbids tracing pid %d: %w", pid, err))
	case hasProcessEnded(pid):
		return diag.Errorf(diag.TargetGone, "pid %d has ended", pid)
	case strings.Contains(err.Error(), noDebugInfo):
		return diag.Errorf(diag.TargetStripped, "pid %d carries no debug information", pid)
	}
	return diag.Errorf(diag.AttachFailed, "attach to pid %d: %w", pid, err)
}

// resume lets the target run while we stay attached. The channel is closed when the
// target stops, by stopRunning or by itself. stopRunning waits for the goroutine.
func (d *debuggee) resume() <-chan struct{} {
	started, stopped := make(chan struct{}), make(chan struct{})
	d.running = make(chan error, 1)
	go func(done chan<- error) {
		defer close(stopped)
		_, err := d.Command(&api.DebuggerCommand{Name: api.Continue}, started, nil, nil)
		done <- err
	}(d.running)
	select {
	case <-started:
	case <-stopped:
	}
	return stopped
}

// stopRunning halts what resume started, unless it has already stopped: halting a
// halted target leaves a SIGTRAP behind, on which a step from a breakpoint gets stuck.
// A halt that arrives just before the target resumes is lost, so it is repeated until
// the target has stopped.
func (d *debuggee) stopRunning() error {
	for d.running != nil {
		select {
		case err := <-d.running:
			d.running = nil
			return err
		default:
			d.Command(&api.DebuggerCommand{Name: api.Halt}, nil, nil, nil)
		}
		select {
		case err := <-d.running:
			d.running = nil
			return err
		case <-time.After(haltPause):
		}
	}
	return nil
}

const (
	haltPause  = 5 * time.Millisecond
	drainPause = 5 * time.Millisecond
	drainTries = 400
)

// release detaches and leaves the target as it was. It works in any state: running,
// halted, in the middle of a step.
func (d *debuggee) release() error {
	if err := d.quiesce(); err != nil && !d.hasEnded() {
		d.log.Error("cannot quiesce the target before detaching", "error", err)
	}
	// Delve gives up at the first error (pkg/proc/target_group.go, detachTarget); the
	// exit of this process then releases the rest.
	if err := d.Detach(false); err != nil && !d.hasEnded() {
		return diag.Errorf(diag.DetachFailed, "detach from pid %d: %w", d.pid, err)
	}
	return nil
}

// quiesce halts the target and leaves no breakpoint of a client, no injected call and
// no pending SIGTRAP or SIGSTOP of Delve's: those kill a busy target after a detach.
func (d *debuggee) quiesce() error {
	if err := d.halt(); err != nil {
		return err
	}
	if err := d.clearBreakpoints(); err != nil {
		return err
	}
	if err := d.advanceRewound(); err != nil {
		return err
	}
	if err := d.finishCalls(); err != nil {
		return err
	}
	return d.drain()
}

// halt ends whatever Delve is doing with the target, including a command of a session
// that has just ended.
func (d *debuggee) halt() error {
	if err := d.stopRunning(); err != nil {
		return err
	}
	for d.IsRunning() {
		if _, err := d.Command(&api.DebuggerCommand{Name: api.Halt}, nil, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// clearBreakpoints removes the session's breakpoints. Delve's own, which have negative
// IDs, stay until the detach.
func (d *debuggee) clearBreakpoints() error {
	if err := d.CancelNext(); err != nil {
		d.log.Debug("cannot cancel a step", "error", err)
	}
	for _, bp := range d.Breakpoints(false) {
		if bp.ID <= 0 {
			continue
		}
		if _, err := d.ClearBreakpoint(bp); err != nil {
			return fmt.Errorf("clear the breakpoint at %s:%d: %w", bp.File, bp.Line, err)
		}
	}
	return nil
}

// drain lets the target run briefly, again and again, until it has taken the signals
// that Delve's halts and late breakpoint hits left pending.
func (d *debuggee) drain() error {
	for try := range drainTries {
		if try > 0 && !d.hasPendingSignals() {
			return nil
		}
		stopped := d.resume()
		select {
		case <-stopped:
		case <-time.After(drainPause):
		}
		if err := d.stopRunning(); err != nil {
			return err
		}
	}
	return fmt.Errorf("signals of the debugger are still pending after %d rounds", drainTries)
}

// hasPendingSignals reports whether a SIGTRAP or SIGSTOP is pending for any thread.
func (d *debuggee) hasPendingSignals() bool {
	mask, err := procfs.ReadPendingSignals(d.pid)
	return err == nil && mask&(1<<(syscall.SIGTRAP-1)|1<<(syscall.SIGSTOP-1)) != 0
}

// isOnThread reports whether the selected goroutine, if any, is on a thread: only then
// a step of one instruction executes an instruction.
func (d *debuggee) isOnThread() bool {
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	g := tgrp.Selected.SelectedGoroutine()
	return g == nil || g.Thread != nil
}

// hasEnded reports whether the target has exited. A traced process that exits stays a
// zombie until the debugger has waited for it (ptrace(2), "Death under ptrace"), and
// Delve's errors for that take many forms.
func (d *debuggee) hasEnded() bool { return hasProcessEnded(d.pid) }

func hasProcessEnded(pid int) bool {
	states, err := procfs.ReadThreadStates(pid)
	if err != nil {
		return true
	}
	for _, state := range states {
		if state != 'Z' && state != 'X' {
			return false
		}
	}
	return true
}
