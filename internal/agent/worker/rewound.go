//go:build linux

package worker

import (
	"encoding/binary"
	"fmt"

	"github.com/go-delve/delve/pkg/dwarf/op"
	"github.com/go-delve/delve/pkg/proc"
)

// Instructions of one byte that a stack frame begins and ends with on amd64.
const (
	pushBP = 0x55
	popBP  = 0x5d
)

// advanceRewound sets right what Delve gets wrong when it halts a busy target:
// the SIGTRAP that it sends may be taken by a thread that has just executed an
// instruction of one byte with a breakpoint. Delve takes that for a hit
// (pkg/proc/native/proc_linux.go, stop1) and sets the thread back, which would
// execute the instruction twice and crash. The thread's stack tells whether it
// was executed. All breakpoints of clients must be gone.
func (d *debuggee) advanceRewound() error {
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	if !tgrp.Selected.BinInfo().Arch.BreakInstrMovesPC() {
		return nil
	}
	for _, thread := range tgrp.Selected.ThreadList() {
		if !thread.SoftExc() {
			continue
		}
		regs, err := thread.Registers()
		if err != nil {
			return err
		}
		if !hasExecuted(thread, regs) {
			continue
		}
		d.log.Info("a thread had been set back by an instruction that it had executed", "thread", thread.ThreadID(), "pc", fmt.Sprintf("%#x", regs.PC()))
		if err := thread.SetReg(thread.BinInfo().Arch.PCRegNum, op.DwarfRegisterFromUint64(regs.PC()+1)); err != nil {
			return err
		}
	}
	return nil
}

// executed reports whether a thread is at an instruction of a frame that it has
// executed already. What can't be read says no.
func hasExecuted(thread proc.Thread, regs proc.Registers) bool {
	var instruction [1]byte
	var stack [16]byte
	mem := thread.ProcessMemory()
	if _, err := mem.ReadMemory(instruction[:], regs.PC()); err != nil {
		return false
	}
	if _, err := mem.ReadMemory(stack[:], regs.SP()); err != nil {
		return false
	}
	first, second := binary.LittleEndian.Uint64(stack[:8]), binary.LittleEndian.Uint64(stack[8:])
	returns := func(addr uint64) bool { return thread.BinInfo().PCToFunc(addr) != nil }
	switch instruction[0] {
	case pushBP: // the frame pointer lies on top of the return address
		return first == regs.BP() && returns(second)
	case popBP: // the return address lies on top
		return returns(first)
	}
	return false
}
