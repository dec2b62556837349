//go:build linux

package worker

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"github.com/go-delve/delve/pkg/proc"

	"github.com/dapbridge/dapbridge/internal/target"
)

// The signals of a debugger in a mask.
const (
	sigTrap = 1 << (syscall.SIGTRAP - 1)
	sigStop = 1 << (syscall.SIGSTOP - 1)
)

// tidy sets right what Delve's halts leave in a target, which stays halted: stop
// signals, traps and misplaced threads. It does so here because Delve, which
// sees them as soon as the target runs, can't tell a hit of a cleared breakpoint
// from a late halt (pkg/proc/native/proc_linux.go, stop1) and sets a thread back
// for either, or for neither. All breakpoints of clients must be gone.
func (d *debuggee) tidy() error {
	if err := d.dropStops(); err != nil {
		return err
	}
	shared, own, err := target.PendingSignals(d.pid)
	if err != nil {
		return err
	}
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	if ok, err := tgrp.Selected.Valid(); !ok {
		return err // Delve has no thread left to ask about an ended target
	}
	var errs []error
	for _, thread := range tgrp.Selected.ThreadList() {
		if hardBreak(tgrp.Selected, thread) {
			continue // of a call that is injected, or the program's own
		}
		hit := own[thread.ThreadID()].Pending&sigTrap != 0
		errs = append(errs, d.place(tgrp.Selected, thread, hit))
		if hit {
			if err := takeTrap(tgrp, thread); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
	}
	if shared&sigTrap != 0 { // of a halt that came about otherwise
		for _, thread := range tgrp.Selected.ThreadList() {
			if s, ok := own[thread.ThreadID()]; ok && s.Pending == 0 && s.Blocked&sigTrap == 0 {
				errs = append(errs, takeTrap(tgrp, thread))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// dropStops takes back the SIGSTOPs by which Delve halts threads, where a thread
// had halted before it came to that. Delivered, one would stop all threads once
// more, and hide the traps of those that are about to hit a breakpoint.
func (d *debuggee) dropStops() error {
	shared, own, err := target.PendingSignals(d.pid)
	if err != nil {
		return err
	}
	for _, s := range own {
		shared |= s.Pending
	}
	if shared&sigStop == 0 {
		return nil
	}
	// The kernel drops all stop signals that are pending when this one is sent
	// (signal(7), kernel/signal.c, prepare_signal).
	return syscall.Kill(d.pid, syscall.SIGCONT)
}

// takeTrap makes a halted thread take a SIGTRAP that is pending. The signal ends
// the step before its instruction has begun.
func takeTrap(tgrp *proc.TargetGroup, thread proc.Thread) error {
	if err := tgrp.Selected.SwitchThread(thread.ThreadID()); err != nil {
		return err
	}
	if err := tgrp.StepInstruction(false); err != nil {
		return fmt.Errorf("take a trap of thread %d: %w", thread.ThreadID(), err)
	}
	return nil
}

// hardBreak reports whether the thread has just executed a breakpoint that is no
// client's.
func hardBreak(tgt *proc.Target, thread proc.Thread) bool {
	regs, err := thread.Registers()
	if err != nil {
		return false
	}
	arch := tgt.BinInfo().Arch
	at := regs.PC()
	if fn := tgt.BinInfo().PCToFunc(at); fn != nil && fn.Entry == at {
		return false // the linker pads the space between functions with them
	}
	if arch.BreakInstrMovesPC() {
		at -= uint64(arch.BreakpointSize())
	}
	code := make([]byte, len(arch.BreakpointInstruction()))
	_, err = tgt.Memory().ReadMemory(code, at)
	return err == nil && bytes.Equal(code, arch.BreakpointInstruction())
}

// pending reports whether a SIGTRAP or SIGSTOP waits for any thread.
func (d *debuggee) pending() (bool, error) {
	shared, own, err := target.PendingSignals(d.pid)
	for _, s := range own {
		shared |= s.Pending
	}
	return shared&(sigTrap|sigStop) != 0, err
}
