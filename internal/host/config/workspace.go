package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// WorkspaceName is the name of a workspace's file.
const WorkspaceName = "dapbridge.yaml"

// FindWorkspace returns the path of the file that applies to the source in root, an
// absolute path, or "" if there is none. It is the nearest one in root or above it, up to
// the top of root's git repository or, without a repository, the directory of the nearest
// go.mod or go.work. So a file in /tmp or in a home directory does not apply to source
// that was unpacked below it.
func FindWorkspace(root string) string {
	top := topDir(root)
	for dir := filepath.Clean(root); ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, WorkspaceName)
		switch {
		case exists(path):
			return path
		case dir == top || dir == filepath.Dir(dir):
			return ""
		}
	}
}

// topDir returns the topmost directory that is searched for root's file.
func topDir(root string) string {
	module := ""
	for dir := filepath.Clean(root); ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, ".git")) {
			return dir
		}
		if module == "" && (exists(filepath.Join(dir, "go.mod")) || exists(filepath.Join(dir, "go.work"))) {
			module = dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if module != "" {
		return module
	}
	return filepath.Clean(root)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Workspace is a workspace's file with the content that was read.
type Workspace struct {
	Path   string // absolute, without symbolic links
	Sum    string // SHA-256 of its content, in hex
	info   fs.FileInfo
	values []Value
}

// ReadWorkspace reads a workspace's file. It refuses a symbolic link: what the user
// trusts in one place must not apply in another.
func ReadWorkspace(path string) (*Workspace, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, unreadableError(path, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, unreadableError(path, err)
	}
	f, err := readFile(path, maxFile)
	if err == nil && !os.SameFile(named, f.info) {
		err = errors.New("it is a symbolic link")
	}
	if err != nil {
		return nil, unreadableError(path, err)
	}
	sum := sha256.Sum256(f.text)
	w := &Workspace{Path: filepath.Join(dir, filepath.Base(path)), Sum: hex.EncodeToString(sum[:]), info: f.info}
	w.values, err = parse(w.Path, InWorkspace, f.text)
	return w, err
}

// NeedTrust returns the values that the file may set only once it is trusted.
func (w *Workspace) NeedTrust() []Value {
	var need []Value
	for _, v := range w.values {
		if v.Key.Workspace == AfterTrust {
			need = append(need, v)
		}
	}
	return need
}

// checkForbidden returns an error for the first key that no workspace's file may set.
func (w *Workspace) checkForbidden(userFile string) error {
	for _, v := range w.values {
		if v.Key.Workspace == Never {
			return errorf(diag.ConfigUntrusted, "%s: a workspace cannot set %s, which %s", v.Origin, v.Key.Name, v.Key.Risk).
				WithHint("remove the line; use --%s, or set it in %s", v.Key.Name, userFile)
		}
	}
	return nil
}

// checkPermissions returns an error if the file sets more than it may.
func (w *Workspace) checkPermissions(s trustState, userFile string) error {
	if err := w.checkForbidden(userFile); err != nil {
		return err
	}
	need := w.NeedTrust()
	if len(need) == 0 {
		return nil
	}
	v := need[0]
	says := v.Origin.String() + ": " + v.Key.Name + " " + v.Key.Risk
	switch why := othersCanWrite(w.info); {
	case s == trusted && why == "":
		return nil
	case s == trusted:
		return withPermissionHint(errorf(diag.ConfigUntrusted, "%s, and the file is no longer trusted: %s", says, why))
	case s == changed:
		return errorf(diag.ConfigUntrusted, "%s, and the file has changed since you trusted it", says).
			WithHint("read it, then run dapbridge trust on it, or move the line to %s", userFile)
	}
	return errorf(diag.ConfigUntrusted, "%s, which a workspace may do only after you have trusted its file", says).
		WithHint("read it, then run dapbridge trust on it, or move the line to %s", userFile)
}
