//go:build linux

package testbed

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// TextEqualsFile compares the executable segments in the memory of a process on the
// node with its executable. It returns the addresses in memory of all bytes that
// differ, which are none if no breakpoint is left. It does not stop the process, and
// reads the file through /proc, so that it works even if the file has been replaced.
//
// It shares no code with what it tests.
func (n *Node) TextEqualsFile(ctx context.Context, pid int) ([]uint64, error) {
	return textDifferences(ctx, n.procDir(pid))
}

// textDifferences is TextEqualsFile for a process given by its directory in /proc.
func textDifferences(ctx context.Context, proc string) ([]uint64, error) {
	file, err := os.Open(filepath.Join(proc, "exe"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	program, err := elf.NewFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	memory, err := os.Open(filepath.Join(proc, "mem"))
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	bias, err := loadBias(proc, program)
	if err != nil {
		return nil, err
	}
	var differ []uint64
	segments := 0
	for _, p := range program.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 {
			continue
		}
		segments++
		found, err := diffRange(ctx, file, int64(p.Off), memory, bias+p.Vaddr, p.Filesz)
		if err != nil {
			return nil, err
		}
		differ = append(differ, found...)
	}
	if segments == 0 {
		return nil, fmt.Errorf("%s has no executable segment", file.Name())
	}
	return differ, nil
}

// loadBias returns the difference between addresses in memory and in the file, which is
// 0 unless the executable is position independent. The auxiliary vector contains the
// address of the entry point (AT_ENTRY, see getauxval(3)).
func loadBias(proc string, program *elf.File) (uint64, error) {
	raw, err := os.ReadFile(filepath.Join(proc, "auxv"))
	if err != nil {
		return 0, err
	}
	if program.Class != elf.ELFCLASS64 {
		return 0, fmt.Errorf("%s: only 64-bit executables can be compared", proc)
	}
	const entry = 9 // AT_ENTRY
	for ; len(raw) >= 16; raw = raw[16:] {
		if program.ByteOrder.Uint64(raw) == entry {
			return program.ByteOrder.Uint64(raw[8:]) - program.Entry, nil
		}
	}
	return 0, fmt.Errorf("%s/auxv has no entry point", proc)
}

// diffRange returns the addresses at which size bytes of file and memory differ.
func diffRange(ctx context.Context, file io.ReaderAt, offset int64, memory *os.File, address, size uint64) ([]uint64, error) {
	const step = 1 << 20
	var differ []uint64
	want, got := make([]byte, step), make([]byte, step)
	for done := uint64(0); done < size; done += step {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(step, size-done)
		if _, err := file.ReadAt(want[:n], offset+int64(done)); err != nil {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		if _, err := memory.ReadAt(got[:n], int64(address+done)); err != nil {
			return nil, fmt.Errorf("read memory at %#x: %w", address+done, err)
		}
		if bytes.Equal(want[:n], got[:n]) {
			continue
		}
		for i := range n {
			if want[i] != got[i] {
				differ = append(differ, address+done+i)
			}
		}
	}
	return differ, nil
}
