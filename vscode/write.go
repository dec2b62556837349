package vscode

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Write merges l into dir/.vscode/launch.json, which it creates if needed, and reports
// whether the file changed. It replaces the file atomically and keeps its mode. It
// follows symbolic links within dir and refuses others, since the workspace is
// untrusted. The error is a [diag.LaunchInvalid] as in [Configure], or a
// [diag.WriteFailed].
func Write(dir string, l Launch) (path string, changed bool, err error) {
	path = filepath.Join(dir, ".vscode", "launch.json")
	changed, err = write(dir, path, l)
	if _, ok := errors.AsType[*diag.Error](err); err != nil && !ok {
		err = diag.Errorf(diag.WriteFailed, "write %s: %w", path, err)
	}
	return path, changed, err
}

func write(dir, path string, l Launch) (changed bool, err error) {
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	name, err := resolveLaunch(dir)
	if err != nil {
		return false, err
	}
	root, err := os.OpenRoot(dir) // confines us to dir even if name changes from now on
	if err != nil {
		return false, err
	}
	defer root.Close()

	text, mode, err := read(root, name)
	if err != nil {
		return false, err
	}
	out, changed, err := configure(path, text, l)
	if err != nil || !changed {
		return false, err
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return false, err
	}
	if err := replace(root, name, out, mode); err != nil {
		return false, err
	}
	return true, nil
}

// resolveLaunch returns the path of .vscode/launch.json relative to dir with symbolic
// links resolved. dir must not contain any.
func resolveLaunch(dir string) (string, error) {
	name := filepath.Join(dir, ".vscode", "launch.json")
	resolved, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) {
		resolved, err = resolveMissing(dir)
	}
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, resolved)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("it is a link to %s, which is outside of the workspace", resolved)
	}
	return rel, nil
}

// resolveMissing is resolveLaunch for a launch.json that does not exist; the result is
// absolute.
func resolveMissing(dir string) (string, error) {
	folder := filepath.Join(dir, ".vscode")
	resolved, err := filepath.EvalSymlinks(folder)
	if errors.Is(err, fs.ErrNotExist) {
		resolved, err = folder, nil
	}
	if err != nil {
		return "", err
	}
	name := filepath.Join(resolved, "launch.json")
	for _, n := range []string{resolved, name} {
		if info, err := os.Lstat(n); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return "", fmt.Errorf("%s is a dangling link", n)
		}
	}
	return name, nil
}

// read returns the text and the mode of a file, or nil and 0 if it does not exist.
func read(root *os.Root, name string) ([]byte, fs.FileMode, error) {
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, errors.New("not a regular file")
	case info.Mode()&0o200 == 0:
		return nil, 0, errors.New("the file is read-only")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLaunchSize+1)) // configure refuses larger files
	return text, info.Mode().Perm(), err
}

// replace writes data to a temporary file beside name and renames it. A mode of 0
// means the default mode of a new file.
func replace(root *os.Root, name string, data []byte, mode fs.FileMode) (err error) {
	temp := filepath.Join(filepath.Dir(name), ".launch.json."+rand.Text())
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	err = writeContent(f, data, mode)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return root.Rename(temp, name)
}

func writeContent(f *os.File, data []byte, mode fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	return f.Sync()
}
