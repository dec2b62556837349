package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// temporary creates a file in the directory of path, which only this user reads.
func (s *server) createTemporary(p string) (*os.File, string, error) {
	dir, err := s.enter(parentOf(p))
	if err != nil {
		return nil, "", err
	}
	s.temps++
	const how = os.O_CREATE | os.O_EXCL | os.O_WRONLY
	base := frame.TemporaryPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(s.temps)
	name := tree.Join(parentOf(p), base)
	f, err := dir.OpenFile(base, how, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		err = s.withWritableDir(name, func() (err error) {
			f, err = s.root.OpenFile(name, how, 0o600)
			return err
		})
	}
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

// stage makes the directory for staged files, which only this user enters.
func (s *server) stage() error {
	s.temps++
	name := frame.TemporaryPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(s.temps)
	if err := s.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	s.staged = name
	return nil
}

// unstage removes that directory with what it holds.
func (s *server) unstage() error {
	if s.staged == "" {
		return nil
	}
	err := s.root.RemoveAll(s.staged)
	if err == nil {
		s.staged = ""
	}
	return err
}

// dress gives a staged file the mode and time of e and returns its path, "" with an
// error. Whether it is whole the host knows, which has compared its digest.
func (s *server) applyAttributes(from string, e tree.Entry) (temp string, err error) {
	if s.staged == "" || !strings.HasPrefix(from, s.staged+"/") || e.Kind != tree.File {
		return "", &fs.PathError{Op: "place", Path: from, Err: errors.New("not a staged file")}
	}
	if err := s.refuseLinks(from); err != nil {
		return "", err
	}
	there, err := tree.Lstat(s.root, from)
	if err == nil && (there.Kind != tree.File || there.Size != e.Size) {
		err = &fs.PathError{Op: "place", Path: from, Err: errors.New("it is another by now")}
	}
	if err == nil {
		err = s.root.Chmod(from, os.FileMode(e.Perm))
	}
	if err == nil {
		err = s.setTime(from, e.MTime)
	}
	if err != nil {
		return "", err
	}
	return from, nil
}

var errNoDir = errors.New("it is no directory here")

// enter opens a directory of the tree, "" for its top, without following a link. It
// stays open for the next call: most files stand beside the one before.
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

// leave closes the directory that was entered last. It has to be done before
// anything but a file may be replaced, and when the host is not heard of: somebody on
// the node may move a directory.
func (s *server) leave() {
	if s.dir != nil {
		s.dir.Close()
		s.dir = nil
	}
}

// parent returns the directory of a path, "" for the top.
func parentOf(p string) string {
	if dir := path.Dir(p); dir != "." {
		return dir
	}
	return ""
}

// noLinks refuses a path that leads through a symbolic link. One that is put
// there afterwards leads out of the tree no more than before: the root sees to
// that (openat2(2), RESOLVE_BENEATH, or the same by hand).
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

// writable runs f, which changes the directory of path. If this user's own
// permissions forbid that, they are lifted meanwhile.
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

// place makes e stand at its path. A file's content is in temp. What stands there
// and is not what the host expects is kept, and so is a directory that holds
// something still; kept says where.
func (s *server) place(e, expected tree.Entry, temp string) (kept string, err error) {
	if e.Kind == tree.File && s.replace(e, expected, temp) {
		return "", nil
	}
	s.leave()
	if err := s.refuseLinks(e.Path); err != nil {
		return "", err
	}
	now, err := tree.Lstat(s.root, e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	case e.Kind == tree.Dir && now.Kind == tree.Dir:
	case now.Kind == tree.Dir:
		if kept, err = s.removeDir(e.Path); err != nil {
			return kept, err
		}
	case now.Kind == tree.Nothing, !now.Matches(expected) && !s.isEqual(e, now, temp):
		if kept, err = s.backUp(e.Path); err != nil {
			return kept, err
		}
	case e.Kind == tree.Dir:
		if err := s.withWritableDir(e.Path, func() error { return s.root.Remove(e.Path) }); err != nil {
			return "", err
		}
	}
	switch e.Kind {
	case tree.File:
		return kept, s.withWritableDir(e.Path, func() error { return s.root.Rename(temp, e.Path) })
	case tree.Dir:
		return kept, s.makeDir(e)
	case tree.Link:
		return kept, s.makeLink(e)
	}
	return kept, fmt.Errorf("%s can't be put there", e.Kind)
}

// replace is place for most files: they stand in the directory where their content
// is, and so far there stands what is expected or nothing. It reports false, and has
// done nothing, if that is not so or not possible.
func (s *server) replace(e, expected tree.Entry, temp string) bool {
	if parentOf(temp) != parentOf(e.Path) {
		return false
	}
	dir, err := s.enter(parentOf(e.Path))
	if err != nil {
		return false
	}
	now, err := tree.Lstat(dir, path.Base(e.Path))
	usual := errors.Is(err, fs.ErrNotExist) || err == nil && now.Kind != tree.Dir && now.Kind != tree.Nothing && now.Matches(expected)
	return usual && dir.Rename(path.Base(temp), path.Base(e.Path)) == nil
}

func (s *server) makeDir(e tree.Entry) error {
	err := s.withWritableDir(e.Path, func() error { return s.root.Mkdir(e.Path, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.root.Chmod(e.Path, os.FileMode(e.Perm))
}

// makeLink makes a link and gives it its name, so that there is always one.
func (s *server) makeLink(e tree.Entry) error {
	s.temps++
	temp := tree.Join(parentOf(e.Path), frame.TemporaryPrefix+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(s.temps))
	return s.withWritableDir(e.Path, func() error {
		if err := s.root.Symlink(e.Target, temp); err != nil {
			return err
		}
		err := s.root.Rename(temp, e.Path)
		if err != nil {
			_ = s.root.Remove(temp)
		}
		return err
	})
}

// equal reports whether what is to be put there has the same content as what is
// there, whose time alone differs.
func (s *server) isEqual(e, now tree.Entry, temp string) bool {
	if e.Kind != now.Kind || e.Size != now.Size || e.Target != now.Target {
		return false
	}
	return e.Kind != tree.File || s.hasSameContent(temp, e.Path)
}

func (s *server) hasSameContent(a, b string) bool {
	f, err := s.root.Open(a)
	if err != nil {
		return false
	}
	defer f.Close()
	g, err := s.root.Open(b)
	if err != nil {
		return false
	}
	defer g.Close()
	var x, y [frame.MaxData]byte
	for {
		n, errX := io.ReadFull(f, x[:])
		m, errY := io.ReadFull(g, y[:])
		if !bytes.Equal(x[:n], y[:m]) {
			return false
		}
		if errX != nil || errY != nil {
			return isEOF(errX) && isEOF(errY)
		}
	}
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// remove removes what the host expects at a path. That it is gone already is
// fine; a directory that holds something still stays, and that is no error
// either: it is not the host's.
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
		case now.Kind == tree.Nothing, now.Kind != tree.Dir && !now.Matches(expected): // the former is a socket or alike
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

// removeDir removes a directory in whose place something else is to stand, or
// keeps it if it holds something.
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

// keep moves what stands at a path out of the tree.
func (s *server) backUp(p string) (kept string, err error) {
	err = s.withWritableDir(p, func() error {
		kept, err = s.backup.move(p)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("it was changed here, and can't be kept elsewhere: %w", err)
	}
	return kept, nil
}

// BackupDir is the directory, beside the tree, that keeps what was changed on the
// node.
const BackupDir = ".dapbridge-backup"

// backup is where things are kept.
type backup struct {
	root *os.Root // the directory that the tree stands in
	top  string   // the tree, from there
	dir  string   // what keeps its things, this time
}

// take moves what stands at path of the tree and returns where it is now.
func (b backup) move(p string) (string, error) {
	to := path.Join(b.dir, p)
	for i := 2; ; i++ { // it may have been changed again
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
