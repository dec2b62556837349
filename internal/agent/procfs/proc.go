package procfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

const procRoot = "/proc"

// statusLimit is enough for a status or stat file unless the process is in well over a
// thousand groups.
const statusLimit = 16 << 10

func procPath(pid int, name string) string {
	return filepath.Join(procRoot, strconv.Itoa(pid), name)
}

// openProc opens a file of a process for reading.
func openProc(pid int, name string) (*os.File, error) {
	if err := checkSupported(); err != nil {
		return nil, err
	}
	f, err := os.Open(procPath(pid, name))
	if err != nil {
		return nil, procError(pid, err)
	}
	return f, nil
}

// OpenExe opens the executable that a process runs, even if its path now has another
// file.
func OpenExe(pid int) (*exe.File, error) {
	f, err := openProc(pid, "exe")
	if err == nil {
		return exe.NewFile(f), nil
	}
	if diag.CodeOf(err) != diag.TargetGone {
		return nil, err
	}
	if st, statErr := readStat(pid); statErr == nil && st.flags&flagKernelThread != 0 {
		return nil, diag.Errorf(diag.TargetNotGo, "process %d is a kernel thread", pid)
	}
	return nil, err
}

// InspectExe calls read with the executable that a process runs.
func InspectExe[T any](pid int, read func(*exe.File) (T, error)) (T, error) {
	x, err := OpenExe(pid)
	if err != nil {
		var none T
		return none, err
	}
	defer x.Close()
	return read(x)
}

// readProc returns at most limit bytes from the beginning of a process's file.
func readProc(pid int, name string, limit int64) ([]byte, error) {
	f, err := openProc(pid, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, procError(pid, err)
	}
	return data, nil
}

func checkSupported() error {
	if runtime.GOOS != "linux" {
		return diag.Errorf(diag.Unsupported, "processes can be read on Linux only")
	}
	return nil
}

// procError adds a code to an error from opening or reading a process's file.
func procError(pid int, err error) error {
	switch {
	case isGone(err):
		return diag.Errorf(diag.TargetGone, "process %d has ended", pid)
	case errors.Is(err, fs.ErrPermission):
		return newPtraceRefused("process %d cannot be read: %w", pid, err)
	}
	return err
}

// isGone reports whether err means that a process no longer exists.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// readNumbers returns the numeric entries of a directory of /proc, ascending.
func readNumbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// findStatusField returns the value of one line of a status file, nil if there is
// none. A process cannot forge a line: the kernel escapes newlines in its name.
func findStatusField(status []byte, key string) []byte {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(key)); ok && len(value) > 0 && value[0] == ':' {
			return bytes.TrimSpace(value[1:])
		}
	}
	return nil
}

func findStatusInt(status []byte, key string) int {
	n, _ := strconv.Atoi(string(findStatusField(status, key)))
	return n
}
