//go:build linux

package worker

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/go-delve/delve/pkg/dwarf/op"
	"github.com/go-delve/delve/pkg/proc"
	"golang.org/x/arch/x86/x86asm"
)

// Instructions of one byte that a stack frame begins and ends with on amd64.
const (
	pushBP = 0x55
	popBP  = 0x5d
)

// place puts a halted thread where it has to go on. Delve gets that wrong in two
// ways on amd64, where a breakpoint's hit shows one byte behind it
// (pkg/proc/native/proc_linux.go, stop1, and threads.go, SetCurrentBreakpoint):
//
//   - A thread that halts behind an instruction of one byte, which it has
//     executed, is taken for one that has hit the breakpoint there, and set back.
//     It would execute the instruction twice.
//   - A thread whose hit comes to light by a halt, when the breakpoint has been
//     cleared, is not set back. It would go on inside an instruction.
//
// The code and the stack say where that is, as far as the Go compiler made the
// code; in assembly and C only a hit, whose signal is pending, tells. All
// breakpoints of clients must be gone.
func (d *debuggee) place(tgt *proc.Target, thread proc.Thread, hit bool) error {
	regs, err := thread.Registers()
	if err != nil {
		return nil // it has ended
	}
	pc := placed(tgt, thread, regs, hit)
	if pc == regs.PC() {
		return nil
	}
	d.log.Info("a thread was misplaced by a halt", "thread", thread.ThreadID(), "pc", fmt.Sprintf("%#x", regs.PC()), "placed", fmt.Sprintf("%#x", pc))
	return thread.SetReg(tgt.BinInfo().Arch.PCRegNum, op.DwarfRegisterFromUint64(pc))
}

// placed returns where a thread has to go on. What can't be read says that it is
// in the right place, unless it has a hit pending.
func placed(tgt *proc.Target, thread proc.Thread, regs proc.Registers, hit bool) uint64 {
	pc := regs.PC()
	if tgt.BinInfo().Arch.Name != "amd64" {
		return pc
	}
	otherwise := pc
	if hit {
		otherwise = pc - 1
	}
	file, _, fn := tgt.BinInfo().PCToLine(pc)
	if fn == nil || !strings.HasSuffix(file, ".go") {
		return otherwise
	}
	var stack [16]byte
	text, err := textOf(tgt, fn)
	if err != nil {
		return otherwise
	}
	if _, err := thread.ProcessMemory().ReadMemory(stack[:], regs.SP()); err != nil {
		return otherwise
	}
	returns := func(addr uint64) bool { return tgt.BinInfo().PCToFunc(addr) != nil }
	first, second := binary.LittleEndian.Uint64(stack[:8]), binary.LittleEndian.Uint64(stack[8:])
	// At a frame's begin the return address lies on top of the stack, and above
	// it, once it is pushed, the caller's frame pointer, which is still in its
	// register. At the end the frame pointer lies there until it is popped.
	pushed := first == regs.BP()
	popped := returns(first)
	off := int(pc - fn.Entry)
	if instruction(text, off) == 1 && (text[off] == pushBP && pushed && returns(second) || text[off] == popBP && popped) {
		return pc + 1
	}
	if off == 0 || !hit && !thread.SoftExc() {
		return pc
	}
	length, before := instruction(text, off-1), text[off-1]
	switch {
	case length > 1, length == 1 && before == pushBP && !pushed, length == 1 && before == popBP && !popped:
		return pc - 1
	case length == 1 && (before == pushBP || before == popBP):
		return pc
	}
	return otherwise
}

// textOf returns a function's code without breakpoints.
func textOf(tgt *proc.Target, fn *proc.Function) ([]byte, error) {
	text := make([]byte, fn.End-fn.Entry)
	if _, err := tgt.Memory().ReadMemory(text, fn.Entry); err != nil {
		return nil, err
	}
	for addr, bp := range tgt.Breakpoints().M {
		if fn.Entry <= addr && addr < fn.End {
			copy(text[addr-fn.Entry:], bp.OriginalData)
		}
	}
	return text, nil
}

// instruction returns the length of the amd64 instruction that begins at an
// offset of a function's code, 0 if none does or the decoder does not know one
// before it.
func instruction(text []byte, off int) int {
	for at := 0; at <= off && at < len(text); {
		inst, err := x86asm.Decode(text[at:], 64)
		if err != nil {
			return 0
		}
		if at == off {
			return inst.Len
		}
		at += inst.Len
	}
	return 0
}
