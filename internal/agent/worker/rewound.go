//go:build linux

package worker

import (
	"encoding/binary"
	"fmt"

	"github.com/go-delve/delve/pkg/dwarf/op"
	"github.com/go-delve/delve/pkg/proc"
)

// One-byte instructions at the beginning and the end of a function on amd64.
const (
	pushBP = 0x55
	popBP  = 0x5d
)

// advanceRewound corrects a mistake that Delve makes when it halts a busy target: the
// SIGTRAP that it sends may reach a thread that has just executed a one-byte
// instruction at a breakpoint. Delve takes that for a hit
// (pkg/proc/native/proc_linux.go, stop1) and rewinds the thread, which would execute
// the instruction twice and crash. The thread's stack shows whether it was executed.
// All breakpoints of clients must have been cleared.
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
		if !wasExecuted(thread, regs) {
			continue
		}
		d.log.Info("corrected a thread that Delve had rewound by an executed instruction", "thread", thread.ThreadID(), "pc", fmt.Sprintf("%#x", regs.PC()))
		if err := thread.SetReg(thread.BinInfo().Arch.PCRegNum, op.DwarfRegisterFromUint64(regs.PC()+1)); err != nil {
			return err
		}
	}
	return nil
}

// wasExecuted reports whether a thread has already executed the instruction it is at.
// If memory cannot be read, it reports false.
func wasExecuted(thread proc.Thread, regs proc.Registers) bool {
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
	isReturnAddr := func(addr uint64) bool { return thread.BinInfo().PCToFunc(addr) != nil }
	switch instruction[0] {
	case pushBP: // the frame pointer is on top of the return address
		return first == regs.BP() && isReturnAddr(second)
	case popBP: // the return address is on top
		return isReturnAddr(first)
	}
	return false
}
