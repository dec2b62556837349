//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-delve/delve/pkg/proc"
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
	running chan error // of a continue that we issued; nil when none
}

// How long, and how often, to try to attach.
const (
	attachTimeout = 10 * time.Second
	attachPause   = 10 * time.Millisecond
)

// attach attaches Delve to the process. Delve's attach fails now and then, on
// a thread that ends meanwhile, and misses one that begins meanwhile; it is
// tried again, until ctx ends. A stripped one's debug file is in symbols.
func attach(ctx context.Context, pid int, symbols string, log *slog.Logger) (*debuggee, error) {
	d := &debuggee{pid: pid, log: log, config: debugger.Config{AttachPid: pid, Backend: "native"}}
	if symbols != "" {
		d.config.DebugInfoDirectories = []string{symbols}
	}
	err := errors.New("given up")
	for deadline := time.Now().Add(attachTimeout); ctx.Err() == nil && time.Now().Before(deadline); {
		if d.Debugger, err = debugger.New(&d.config, nil); err == nil {
			if err = d.checkAttached(); err == nil {
				return d, nil
			}
		}
		log.Debug("attaching", "error", err)
		if errors.Is(err, syscall.EPERM) || strings.Contains(err.Error(), "operation not permitted") ||
			strings.Contains(err.Error(), noDebugInfo) || d.hasEnded() {
			break
		}
		time.Sleep(attachPause)
	}
	return nil, explainAttach(pid, err)
}

// noDebugInfo is what Delve says of a stripped target (pkg/proc/bininfo.go).
const noDebugInfo = "could not open debug info"

// complete sees that every thread of the target is attached to, and detaches if
// one is not. Delve lists the threads once, when all but the main one still run
// and may start another (pkg/proc/native/proc_linux.go, updateThreadList); that
// one would die at the first breakpoint, and the target with it.
func (d *debuggee) checkAttached() error {
	missed, err := procfs.FindUntracedThreads(d.pid)
	if err == nil && len(missed) > 0 {
		err = fmt.Errorf("thread %d began during the attach", missed[0])
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

// run lets the target run under us. The channel is closed when it stops, by
// stopRunning or by itself.
func (d *debuggee) resume() <-chan struct{} {
	started, gone := make(chan struct{}), make(chan struct{})
	d.running = make(chan error, 1)
	go func(done chan<- error) {
		defer close(gone)
		_, err := d.Command(&api.DebuggerCommand{Name: api.Continue}, started, nil, nil)
		done <- err
	}(d.running)
	select {
	case <-started:
	case <-gone:
	}
	return gone
}

// stopRunning halts what run started, if it has not stopped by itself: a halt of
// a halted target leaves a SIGTRAP behind, on which a step from a breakpoint
// gets stuck. A halt that arrives just before the resume is lost, so it is asked
// for until it has come about.
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

// release detaches and leaves the target as it was. It works from any state:
// running, halted, in the middle of a step.
func (d *debuggee) release() error {
	if err := d.quiesce(); err != nil && !d.hasEnded() {
		d.log.Error("before the detach", "error", err)
	}
	// Delve gives up at the first error (pkg/proc/target_group.go,
	// detachTarget); the end of this process lets go what is left then.
	if err := d.Detach(false); err != nil && !d.hasEnded() {
		return diag.Errorf(diag.DetachFailed, "detach from pid %d: %w", d.pid, err)
	}
	return nil
}

// quiesce returns with the target halted, no breakpoint of a client's left in
// it, no injected call under way, and no SIGTRAP or SIGSTOP of Delve's
// pending: those are what kills a busy target after a detach.
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

// halt ends whatever Delve is doing with the target, also a command of a
// session that just ended.
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

// clear removes a session's breakpoints; Delve's own, with negative numbers,
// stay until the detach.
func (d *debuggee) clearBreakpoints() error {
	if err := d.CancelNext(); err != nil {
		d.log.Debug("cancelling a step", "error", err)
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

// drain lets the target run for moments until the signals that Delve's halts
// and late breakpoint hits left behind have been taken.
func (d *debuggee) drain() error {
	for try := range drainTries {
		if try > 0 && !d.hasPendingSignals() {
			return nil
		}
		gone := d.resume()
		select {
		case <-gone:
		case <-time.After(drainPause):
		}
		if err := d.stopRunning(); err != nil {
			return err
		}
	}
	return fmt.Errorf("signals of the debugger are still pending after %d rounds", drainTries)
}

// pending reports whether a SIGTRAP or SIGSTOP waits for any thread.
func (d *debuggee) hasPendingSignals() bool {
	mask, err := procfs.ReadPendingSignals(d.pid)
	return err == nil && mask&(1<<(syscall.SIGTRAP-1)|1<<(syscall.SIGSTOP-1)) != 0
}

// onThread reports whether the selected goroutine, if there is one, is on a thread:
// only then a step of an instruction is one of the processor's.
func (d *debuggee) isOnThread() bool {
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	g := tgrp.Selected.SelectedGoroutine()
	return g == nil || g.Thread != nil
}

// finishCalls lets injected calls (evaluate of a call) run to their end: a
// target that is detached in the middle of one dies when it returns. The
// target runs meanwhile; a call that never returns keeps us attached.
func (d *debuggee) finishCalls() error {
	for {
		calls, err := d.countCalls()
		if err != nil || calls == 0 {
			return err
		}
		d.log.Info("waiting for injected calls", "calls", calls)
		gone := d.resume()
		select {
		case <-gone:
		case <-time.After(callPause):
		}
		if err := d.stopRunning(); err != nil {
			return err
		}
	}
}

// callPause is how long injected calls run before we look again.
const callPause = 200 * time.Millisecond

// calls counts where injected calls are under way (runtime/debugcall.go): on
// goroutines of their own (debugCallWrap1), and before and after that on a
// thread (debugCallV2).
func (d *debuggee) countCalls() (n int, err error) {
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	tgt := tgrp.Selected
	gs, _, err := proc.GoroutinesInfo(tgt, 0, 0)
	if err != nil {
		return 0, err
	}
	for _, g := range gs {
		if isDebugCall(g.StartLoc(tgt).Fn) {
			n++
		}
	}
	for _, thread := range tgt.ThreadList() {
		frames, err := proc.ThreadStacktrace(tgt, thread, debugCallDepth)
		if err != nil {
			continue // a thread without a stack that Delve understands
		}
		if slices.ContainsFunc(frames, func(f proc.Stackframe) bool { return isDebugCall(f.Current.Fn) }) {
			n++
		}
	}
	return n, nil
}

// debugCallDepth is how far down debugCallV2 is looked for: it calls no deeper
// but on a goroutine of the call's own.
const debugCallDepth = 16

func isDebugCall(fn *proc.Function) bool {
	return fn != nil && strings.HasPrefix(fn.Name, "runtime.debugCall")
}

// ended reports whether the target runs no more. One that ends under a debugger
// stays a zombie until the debugger has looked (ptrace(2), "Death under
// ptrace"), and what Delve says of it takes many forms.
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
