package procfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// sourceLimit bounds the size of a source file, in bytes.
const sourceLimit = 4 << 20

// ReadSource returns the current content of a source file on the node, in the
// process's mount namespace, by the path that the compiler recorded. The caller
// ensures that the process's executable names the file. Since whoever built that could
// have recorded any path, ReadSource reads only regular files with a source file's
// extension, of 4 MiB at most, and does not follow a symbolic link in the file's
// place. The error's code is diag.SourceMissing if there is no such file.
func ReadSource(pid int, name string) ([]byte, error) {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return nil, diag.Errorf(diag.SourceMissing, "%s is not a clean absolute path on the node", name)
	}
	if !isSource(name) {
		return nil, diag.Errorf(diag.SourceMissing, "%s does not have the name of a source file", name)
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

// isSource reports whether name has the extension of a file that is compiled, or of
// one from which such a file is generated that refers to it in line directives.
func isSource(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".go", ".s", ".c", ".cc", ".cpp", ".h", ".y", ".rl", ".peg", ".templ", ".qtpl":
		return true
	}
	return false
}

// openSource opens a regular file in a process's root directory, which symbolic links
// in the path cannot leave. It checks the type before it opens the file: even opening
// a device or a pipe may have an effect.
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
		return nil, errors.New("not a regular file")
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", at), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}
