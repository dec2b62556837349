package exe

import (
	"io"
	"os"
	"syscall"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// File is an open executable. Its methods may be called from several goroutines; each
// reads the file again, within bounds.
type File struct {
	f *os.File // nil in tests, which read from memory
	r io.ReaderAt
}

// Open opens an executable, on any system. It does not block on a pipe.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = diag.Errorf(diag.TargetNotGo, "%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return NewFile(f), nil
}

// NewFile returns the executable open in f. Closing it closes f.
func NewFile(f *os.File) *File { return &File{f, f} }

// Close closes the file.
func (x *File) Close() error { return x.f.Close() }

// Stat describes the file.
func (x *File) Stat() (os.FileInfo, error) { return x.f.Stat() }

// ReadAt implements [io.ReaderAt], without the bounds of the other methods.
func (x *File) ReadAt(p []byte, off int64) (int, error) { return x.r.ReadAt(p, off) }
