package procfs

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

const (
	chunkSize = 1 << 20
	diffLimit = 64 << 10
)

// TextDiff is a byte of a process's text that differs from its executable.
type TextDiff struct {
	Addr      uint64 // in the process
	File, Mem byte
}

// CompareText returns where the text of a process differs from its executable, in the
// order of addresses, at most 65,536 bytes. Libraries are not compared.
func CompareText(pid int) ([]TextDiff, error) {
	t, err := openText(pid, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var diffs []TextDiff
	err = t.eachDiff(func(chunk textChunk, i int) error {
		if len(diffs) == diffLimit {
			return io.EOF
		}
		diffs = append(diffs, TextDiff{chunk.addr + uint64(i), chunk.file[i], chunk.mem[i]})
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	return diffs, err
}

// text is the executable text of a process, in its file and in memory.
type text struct {
	file     *exe.File
	mem      *os.File
	segments []exe.TextSegment
	trap     []byte // the breakpoint instruction
}

// textChunk is a part of the text, the same bytes from file and memory.
type textChunk struct {
	addr      uint64
	file, mem []byte
}

// openText opens the text of a process; flag is passed to os.OpenFile for its memory.
func openText(pid int, flag int) (*text, error) {
	before, err := readStat(pid)
	if err != nil {
		return nil, err
	}
	t := &text{}
	if t.file, err = OpenExe(pid); err != nil {
		return nil, err
	}
	if t.mem, err = os.OpenFile(procPath(pid, "mem"), flag, 0); err != nil {
		t.close()
		return nil, procError(pid, err)
	}
	err = t.findSegments(pid)
	if after, statErr := readStat(pid); err == nil && (statErr != nil || after.start != before.start) {
		err = diag.Errorf(diag.TargetGone, "process %d has ended", pid)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *text) close() {
	t.file.Close()
	t.mem.Close() // on nil this returns an error
}

// findSegments reads the text segments from the program headers.
func (t *text) findSegments(pid int) error {
	auxv, err := readProc(pid, "auxv", statusLimit)
	if err != nil {
		return err
	}
	t.segments, t.trap, err = t.file.TextSegments(auxv)
	return err
}

// eachDiff calls fn for every byte that differs, until fn returns an error.
func (t *text) eachDiff(fn func(chunk textChunk, i int) error) error {
	file, mem := make([]byte, chunkSize), make([]byte, chunkSize)
	for _, s := range t.segments {
		for done := int64(0); done < s.Size; done += chunkSize {
			n := min(chunkSize, s.Size-done)
			c := textChunk{s.Addr + uint64(done), file[:n], mem[:n]}
			if err := t.read(c, s.Off+done); err != nil {
				return err
			}
			if err := c.eachDiff(fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *text) read(c textChunk, off int64) error {
	if _, err := t.file.ReadAt(c.file, off); err != nil {
		return diag.Errorf(diag.TargetNotGo, "read the executable's text: %w", err)
	}
	_, err := t.mem.ReadAt(c.mem, int64(c.addr))
	if err == io.EOF { // the memory was released
		return diag.Errorf(diag.TargetGone, "the process has ended")
	}
	if err != nil {
		return fmt.Errorf("read the process's text: %w", err)
	}
	return nil
}

func (c textChunk) eachDiff(fn func(chunk textChunk, i int) error) error {
	const block = 4 << 10
	for from := 0; from < len(c.file); from += block {
		to := min(from+block, len(c.file))
		if bytes.Equal(c.file[from:to], c.mem[from:to]) {
			continue
		}
		for i := from; i < to; i++ {
			if c.file[i] == c.mem[i] {
				continue
			}
			if err := fn(c, i); err != nil {
				return err
			}
		}
	}
	return nil
}
