package procfs

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// sourceLimit bounds a source file that is read, in bytes.
const sourceLimit = 4 << 20

// ReadSource returns a source file as it is on the node now, where the process
// sees it, by the name that the compiler was told. The caller makes sure that the
// process's executable names the file; but since who built that may have written
// anything into it, only what is a source file by its name and regular by its
// kind is read, of 4 MiB at the most, and a symbolic link in its place is not
// followed. The error is diag.SourceMissing if there is no such file.
func ReadSource(pid int, name string) ([]byte, error) {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return nil, diag.Errorf(diag.SourceMissing, "%s names no place on the node", name)
	}
	if !isSource(name) {
		return nil, diag.Errorf(diag.SourceMissing, "%s is no source file by its name", name)
	}
	f, err := openSource(pid, name)
	if err != nil {
		return nil, diag.Errorf(diag.SourceMissing, "the node does not have %s: %w", name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, sourceLimit+1))
	if err == nil && len(text) > sourceLimit {
		err = fmt.Errorf("over %d bytes", sourceLimit)
	}
	if err != nil {
		return nil, diag.Errorf(diag.SourceMissing, "read %s on the node: %w", name, err)
	}
	return text, nil
}

// isSource reports whether name is that of a file which is compiled, or from
// which one is generated that says so by a line directive.
func isSource(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".go", ".s", ".c", ".cc", ".cpp", ".h", ".y", ".rl", ".peg", ".templ", ".qtpl":
		return true
	}
	return false
}

// openSource opens a regular file in a process's root directory, which symbolic
// links on the way can't leave. It is looked at before it is opened: to open a
// device or a pipe may already do something.
func openSource(pid int, name string) (*os.File, error) {
	root, err := unix.Open(procPath(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	at, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("it is no regular file")
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", at), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}
