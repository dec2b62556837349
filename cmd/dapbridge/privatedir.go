package main

import (
	"io/fs"
	"os"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// privateDir makes a directory of this user's alone, or sees that it is one.
// What stands in such a directory is believed: a program that becomes root on a
// node, the key that a node has. One that only lets others look is closed to
// them; one that others can write to, or that is not ours, is refused, since
// what is in it may be theirs.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil // whoever needs it will say so: a home may be read-only
	}
	entry, err := os.Lstat(path)
	if err != nil {
		return diag.Errorf(diag.WriteFailed, "look at this user's directory: %w", err)
	}
	dir, err := os.Stat(path) // which a link of the user's own may lead to
	if err != nil {
		return diag.Errorf(diag.WriteFailed, "look at this user's directory: %w", err)
	}
	if !ours(entry) || !ours(dir) {
		return diag.Errorf(diag.DirUnsafe, "%s is another user's", path)
	}
	switch open := dir.Mode().Perm() & accessOfOthers; {
	case open&0o022 != 0:
		return diag.Errorf(diag.DirUnsafe, "%s can be written to by other users (mode %04o)", path, dir.Mode().Perm())
	case open != 0:
		if err := os.Chmod(path, dir.Mode().Perm()&^fs.FileMode(accessOfOthers)); err != nil {
			return diag.Errorf(diag.DirUnsafe, "close %s to other users: %w", path, err)
		}
	}
	return nil
}
