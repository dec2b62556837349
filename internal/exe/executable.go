package exe

import (
	"debug/elf"
	"errors"
	"io"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const (
	// headerBudget bounds the bytes of an executable's headers: parsed, they take more
	// memory than in the file.
	headerBudget = 16 << 20
	// readBudget bounds the bytes that one call reads from an executable, and so its
	// memory. The largest known Go programs are smaller than this.
	readBudget = 512 << 20
	// maxSection bounds a section that is held in memory or decompressed.
	maxSection = 1 << 30
)

// executable is an ELF file being read.
type executable struct {
	*elf.File
	r io.ReaderAt // the whole file, limited by the budget
}

// withELF calls fn with the ELF file in r. All code that interprets an executable runs
// in it.
func withELF(r io.ReaderAt, fn func(executable) error) error {
	return guard(func() error {
		b := &budget{r: r, left: headerBudget}
		f, err := elf.NewFile(b)
		if err != nil {
			return diag.Errorf(diag.TargetNotGo, "not an ELF executable: %w", err)
		}
		b.left = readBudget
		return fn(executable{f, b})
	})
}

// guard calls fn and converts a panic, of this package or debug/elf at a malformed
// executable, to an error. Nothing else recovers.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = diag.Errorf(diag.TargetNotGo, "malformed executable: %v", p)
		}
	}()
	return fn()
}

// section returns the first section with one of these names that has content in the
// file, or nil.
func (e executable) section(names ...string) *elf.Section {
	for _, name := range names {
		if s := e.Section(name); s != nil && s.Type != elf.SHT_NOBITS && s.Size > 0 {
			return s
		}
	}
	return nil
}

// budget is a reader that fails after a number of bytes. It is not for concurrent use.
type budget struct {
	r    io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("the executable is too large")
	}
	return b.r.ReadAt(p, off)
}
