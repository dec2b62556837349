package receive

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

var errNoDir = errors.New("not a directory on the node")

// enter opens a directory of the tree, "" for its top, without following a symbolic
// link. The directory stays open for the next call, since most files are in the same
// directory as the one before.
func (s *server) enter(dir string) (*os.Root, error) {
	switch {
	case dir == "":
		return s.root, nil
	case s.dir != nil && s.dirPath == dir:
		return s.dir, nil
	}
	s.leave()
	at := s.root
	for name := range strings.SplitSeq(dir, "/") {
		info, err := at.Lstat(name)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: dir, Err: errNoDir}
		}
		var below *os.Root
		if err == nil {
			below, err = at.OpenRoot(name)
		}
		if at != s.root {
			at.Close()
		}
		if err != nil {
			return nil, err
		}
		at = below
	}
	s.dir, s.dirPath = at, dir
	return at, nil
}

// leave closes the directory that was entered last. This is necessary before anything
// but a file is replaced, and while no request arrives: somebody on the node may move
// the directory.
func (s *server) leave() {
	if s.dir != nil {
		s.dir.Close()
		s.dir = nil
	}
}

// parentOf returns the directory of a path, "" for the top.
func parentOf(p string) string {
	if dir := path.Dir(p); dir != "." {
		return dir
	}
	return ""
}

// refuseLinks refuses a path that leads through a symbolic link. A link that is
// created afterwards cannot lead out of the tree either: os.Root prevents that
// (openat2(2), RESOLVE_BENEATH, or equivalent checks).
func (s *server) refuseLinks(p string) error {
	for dir := parentOf(p); dir != ""; dir = parentOf(dir) {
		info, err := s.root.Lstat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return &fs.PathError{Op: "open", Path: dir, Err: errNoDir}
		}
	}
	return nil
}

// withWritableDir runs f, which changes the directory of p. If the directory's
// permissions forbid that to its owner, they are extended meanwhile.
func (s *server) withWritableDir(p string, f func() error) error {
	err := f()
	dir := parentOf(p)
	if !errors.Is(err, fs.ErrPermission) || dir == "" {
		return err
	}
	info, statErr := s.root.Lstat(dir)
	if statErr != nil || !info.IsDir() || info.Mode()&0o300 == 0o300 || s.root.Chmod(dir, info.Mode()|0o700) != nil {
		return err
	}
	defer func() { _ = s.root.Chmod(dir, info.Mode().Perm()) }()
	return f()
}
