package main

import (
	"io/fs"
	"os"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// makePrivateDir creates a directory that only this user can access, or checks that it
// is one. dapbridge trusts the files in it: an executable that becomes root on a node,
// a node's host key. If others can read the directory, makePrivateDir removes their
// permission. If others can write to it, or it is not ours, it fails, since the files
// may be theirs.
func makePrivateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil // a home may be read-only; writing to it will fail
	}
	entry, err := os.Lstat(path)
	if err != nil {
		return diag.Errorf(diag.WriteFailed, "check that the directory is private: %w", err)
	}
	dir, err := os.Stat(path) // the user's own link may lead to it
	if err != nil {
		return diag.Errorf(diag.WriteFailed, "check that the directory is private: %w", err)
	}
	if !isOurs(entry) || !isOurs(dir) {
		return diag.Errorf(diag.DirUnsafe, "%s belongs to another user", path)
	}
	switch open := dir.Mode().Perm() & accessOfOthers; {
	case open&0o022 != 0:
		return diag.Errorf(diag.DirUnsafe, "other users can write to %s (mode %04o)", path, dir.Mode().Perm())
	case open != 0:
		if err := os.Chmod(path, dir.Mode().Perm()&^fs.FileMode(accessOfOthers)); err != nil {
			return diag.Errorf(diag.DirUnsafe, "remove other users' access to %s: %w", path, err)
		}
	}
	return nil
}
