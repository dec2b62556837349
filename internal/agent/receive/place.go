package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// createTemporary creates a file in the directory of p that only this user can read.
func (s *server) createTemporary(p string) (*os.File, string, error) {
	dir, err := s.enter(parentOf(p))
	if err != nil {
		return nil, "", err
	}
	s.temps++
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY
	base := frame.TemporaryPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(s.temps)
	name := tree.Join(parentOf(p), base)
	f, err := dir.OpenFile(base, flags, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		err = s.withWritableDir(name, func() (err error) {
			f, err = s.root.OpenFile(name, flags, 0o600)
			return err
		})
	}
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

// stage creates the directory for staged files, which only this user can enter.
func (s *server) stage() error {
	s.temps++
	name := frame.TemporaryPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(s.temps)
	if err := s.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	s.staged = name
	return nil
}

// unstage removes that directory and its content.
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

// applyAttributes gives a staged file the mode and time of e, and returns its path, or
// "" and an error. The host ensures that the file is complete, by its digest.
func (s *server) applyAttributes(from string, e tree.Entry) (temp string, err error) {
	if s.staged == "" || !strings.HasPrefix(from, s.staged+"/") || e.Kind != tree.File {
		return "", &fs.PathError{Op: "place", Path: from, Err: errors.New("not a staged file")}
	}
	if err := s.refuseLinks(from); err != nil {
		return "", err
	}
	info, err := tree.Lstat(s.root, from)
	if err == nil && (info.Kind != tree.File || info.Size != e.Size) {
		err = &fs.PathError{Op: "place", Path: from, Err: errors.New("it has changed meanwhile")}
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

// place puts e at its path. A file's content is in temp. If what is there differs from
// what the host expects, or is a directory that is not empty, it is moved to the
// backup, and kept is its path there.
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
	return kept, fmt.Errorf("cannot create an entry of kind %s", e.Kind)
}

// replace is the fast path of place for most files: their content is in the same
// directory, and what is at their path is as expected, or nothing. Otherwise it does
// nothing and returns false.
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

// makeLink creates a link under another name and renames it, so that the path always
// exists.
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

// isEqual reports whether the content to be placed equals the present content, so that
// only the times differ.
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
