//go:build linux

package functable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
)

// findThreadLocalG returns where a thread's g is, relative to the thread pointer. The
// function runtime.morestack begins with reading it (runtime/asm_amd64.s), in a form that
// depends on how the program was linked. On arm64 it is in a register.
func (t *table) findThreadLocalG() (int64, error) {
	if t.machine != elf.EM_X86_64 {
		return 0, nil
	}
	entry, ok := t.entryOf("runtime.morestack")
	if !ok {
		return 0, errors.New("no function runtime.morestack")
	}
	code := t.slice(entry, 16)
	operand := func(n int) int64 { return int64(int32(binary.LittleEndian.Uint32(code[n:]))) }
	var offset int64
	switch {
	case bytes.HasPrefix(code, []byte{0x64, 0x48, 0x8b}) && code[3]&0xc7 == 0x04 && code[4] == 0x25: // mov %fs:offset, any register
		offset = operand(5)
	case bytes.HasPrefix(code, []byte{0x48, 0xc7, 0xc1}): // mov $offset, %rcx
		offset = operand(3)
	case bytes.HasPrefix(code, []byte{0x48, 0x8b, 0x0d}): // mov address(%rip), %rcx
		offset = int64(t.word(entry + 7 + uint64(operand(3))))
	}
	if offset >= 0 || offset%8 != 0 {
		return 0, errors.New("the place of a thread's g is unknown")
	}
	return offset, nil
}
