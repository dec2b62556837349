package procfs

import (
	"bytes"
	"fmt"
	"os"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// RestoreText replaces every breakpoint instruction that a debugger left in the text
// of a process by the executable's instruction, verifies that, and returns how many
// there were. Other differences are kept. A thread that has already hit a breakpoint
// still gets its SIGTRAP, so the caller should have frozen the process.
func RestoreText(pid int) (restored int, err error) {
	t, err := openText(pid, os.O_RDWR)
	if err != nil {
		return 0, err
	}
	defer t.close()
	return t.restore()
}

func (t *text) restore() (restored int, err error) {
	err = t.eachTrap(func(addr uint64, original []byte) error {
		if _, err := t.mem.WriteAt(original, int64(addr)); err != nil {
			return diag.Errorf(diag.PtraceRefused, "cannot remove the breakpoint at %#x: %w", addr, err)
		}
		restored++
		return nil
	})
	if err != nil {
		return restored, err
	}
	err = t.eachTrap(func(addr uint64, _ []byte) error {
		return fmt.Errorf("the breakpoint at %#x is back after its removal", addr)
	})
	return restored, err
}

// eachTrap calls fn for every breakpoint instruction in memory that is not in the
// file. Instructions are aligned to their size, and chunks to more.
func (t *text) eachTrap(fn func(addr uint64, original []byte) error) error {
	size := len(t.trap)
	next := uint64(0)
	return t.eachDiff(func(c textChunk, i int) error {
		at := i - int((c.addr+uint64(i))%uint64(size))
		addr := c.addr + uint64(at)
		if at < 0 || at+size > len(c.mem) || addr < next || !bytes.Equal(c.mem[at:at+size], t.trap) {
			return nil
		}
		next = addr + uint64(size)
		return fn(addr, c.file[at:at+size])
	})
}
