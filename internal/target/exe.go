package target

import (
	"io"
	"os"
)

// Exe is an executable that is open for reading. Its methods may be called from
// several goroutines; each reads the file anew, within bounds.
type Exe struct {
	f *os.File
	r io.ReaderAt
}

// OpenExe opens the executable that a process runs: the very file, also if
// another one has taken its name.
func OpenExe(pid int) (*Exe, error) {
	f, err := openExe(pid)
	if err != nil {
		return nil, err
	}
	return &Exe{f, f}, nil
}

// OpenExeFile opens an executable by its path, on any system.
func OpenExeFile(path string) (*Exe, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	return &Exe{f, f}, nil
}

// Close closes the file.
func (x *Exe) Close() error { return x.f.Close() }
