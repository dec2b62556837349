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

// WorkspaceName is what a workspace's file is called.
const WorkspaceName = "dapbridge.yaml"

// FindWorkspace returns the path of the file that belongs to the source in root,
// an absolute path: the nearest one in root or above it, but not above the git
// repository that root is in, or without one the nearest go.mod or go.work. It
// returns "" if there is none. So a file in /tmp or in a home directory does not
// count for what somebody has unpacked below.
func FindWorkspace(root string) string {
	top := boundary(root)
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

// boundary returns the highest directory that may hold root's file.
func boundary(root string) string {
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

// Workspace is a workspace's file as it was read.
type Workspace struct {
	Path   string // absolute, without symbolic links
	Sum    string // SHA-256 of its content, in hex
	info   fs.FileInfo
	values []Value
}

// ReadWorkspace reads a workspace's file. A symbolic link is refused: what the
// user trusts in one place must not count in another.
func ReadWorkspace(path string) (*Workspace, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, unreadable(path, err)
	}
	f, err := read(path, maxFile)
	if err == nil && !os.SameFile(named, f.info) {
		err = errors.New("it is a symbolic link")
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	sum := sha256.Sum256(f.text)
	w := &Workspace{Path: filepath.Join(dir, filepath.Base(path)), Sum: hex.EncodeToString(sum[:]), info: f.info}
	w.values, err = parse(w.Path, InWorkspace, f.text)
	return w, err
}

// NeedTrust returns what the file sets that it may only after it was trusted.
func (w *Workspace) NeedTrust() []Value {
	var need []Value
	for _, v := range w.values {
		if v.Key.Workspace == AfterTrust {
			need = append(need, v)
		}
	}
	return need
}

// never returns an error for the first key that no workspace's file may set.
func (w *Workspace) never(userFile string) error {
	for _, v := range w.values {
		if v.Key.Workspace == Never {
			return errorf(diag.ConfigUntrusted, "%s: a workspace can't set %s, which %s", v.Origin, v.Key.Name, v.Key.Risk).
				WithHint("remove the line, and give --%s, or set it in %s", v.Key.Name, userFile)
		}
	}
	return nil
}

// permitted returns an error if the file says more than it may.
func (w *Workspace) permitted(s state, userFile string) error {
	if err := w.never(userFile); err != nil {
		return err
	}
	need := w.NeedTrust()
	if len(need) == 0 {
		return nil
	}
	v := need[0]
	says := v.Origin.String() + ": " + v.Key.Name + " " + v.Key.Risk
	switch why := othersWrite(w.info); {
	case s == pinned && why == "":
		return nil
	case s == pinned:
		return closeToOthers(errorf(diag.ConfigUntrusted, "%s, and the file is no longer trusted: %s", says, why))
	case s == changed:
		return errorf(diag.ConfigUntrusted, "%s, and the file has changed since you trusted it", says).
			WithHint("read it, then run dapbridge trust on it, or move the line to %s", userFile)
	}
	return errorf(diag.ConfigUntrusted, "%s, which a workspace may not before you trust its file", says).
		WithHint("read it, then run dapbridge trust on it, or move the line to %s", userFile)
}
