package receive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// remove removes the entry that the host expects. It is not an error if that is already
// gone, or if it is a directory that is not empty: its content is not the host's, and
// it stays.
func (s *server) remove(expected tree.Entry) (kept string, err error) {
	p := expected.Path
	err = s.refuseLinks(p)
	if err == nil {
		var now tree.Entry
		now, err = tree.Lstat(s.root, p)
		switch {
		case err != nil:
		case now.Kind == tree.Dir && expected.Kind != tree.Dir:
			return "", nil
		case now.Kind == tree.Nothing, now.Kind != tree.Dir && !now.Matches(expected): // the former is a socket or the like
			return s.backUp(p)
		default:
			err = s.withWritableDir(p, func() error { return s.root.Remove(p) })
			if now.Kind == tree.Dir && err != nil && s.isNonEmptyDir(p) {
				return "", nil
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoDir) {
		err = nil
	}
	return "", err
}

// removeDir removes a directory to make room for something else, or backs it up if it
// is not empty.
func (s *server) removeDir(p string) (kept string, err error) {
	err = s.withWritableDir(p, func() error { return s.root.Remove(p) })
	if err != nil && s.isNonEmptyDir(p) {
		return s.backUp(p)
	}
	return "", err
}

func (s *server) isNonEmptyDir(dir string) bool {
	infos, err := tree.ReadDir(s.root, dir)
	return err == nil && len(infos) > 0
}

// backUp moves what is at a path out of the tree.
func (s *server) backUp(p string) (kept string, err error) {
	err = s.withWritableDir(p, func() error {
		kept, err = s.backup.move(p)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("it was changed on the node, and cannot be backed up: %w", err)
	}
	return kept, nil
}

// BackupDir is the directory, beside the tree, with the backups of what was changed on
// the node.
const BackupDir = ".dapbridge-backup"

// backup is where entries that are moved out of the tree go.
type backup struct {
	root *os.Root // the directory that contains the tree
	top  string   // path of the tree in root
	dir  string   // path in root of this receiver's backups
}

// move moves what is at path p of the tree, and returns its new path.
func (b backup) move(p string) (string, error) {
	to := path.Join(b.dir, p)
	for i := 2; ; i++ { // p may have been backed up before
		if _, err := b.root.Lstat(to); err != nil {
			break
		}
		to = path.Join(b.dir, p) + "." + strconv.Itoa(i)
	}
	if err := b.root.MkdirAll(path.Dir(to), 0o700); err != nil {
		return "", err
	}
	return path.Join(filepath.ToSlash(b.root.Name()), to), b.root.Rename(path.Join(b.top, p), to)
}
