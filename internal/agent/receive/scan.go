package receive

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// scan sends the tree's entries, unsorted, and removes temporary files of receivers
// that were killed.
func (s *server) scan() error {
	if err := s.scanDir(""); err != nil {
		return err
	}
	return s.out.Send(frame.KindEnd)
}

// scanDir sends the entries below a directory. It returns only write errors: what
// cannot be read is sent as a problem.
func (s *server) scanDir(dir string) error {
	infos, err := tree.ReadDir(s.root, dir)
	if err != nil {
		return s.sendProblem(dir, err)
	}
	for _, info := range infos {
		p := tree.Join(dir, info.Name())
		if strings.HasPrefix(info.Name(), frame.TemporaryPrefix) {
			if s.readOnly {
				continue
			}
			if err := s.withWritableDir(p, func() error { return s.root.RemoveAll(p) }); err != nil {
				if err := s.sendProblem(p, err); err != nil {
					return err
				}
			}
			continue
		}
		e, err := tree.NewEntry(s.root, p, info)
		switch {
		case err != nil || len(p) > frame.MaxPath:
			err = s.sendProblem(p, err)
		case e.Kind != tree.Nothing:
			s.out.AppendEntry(e)
			err = s.out.Send(frame.KindEntry)
		}
		if err == nil && e.Kind == tree.Dir {
			err = s.scanDir(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *server) sendProblem(p string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || !frame.IsInside(p) && p != "" || len(p) > frame.MaxPath {
		return nil // it has disappeared, or has a name that the host cannot have sent
	}
	s.out.AppendText(p)
	s.out.AppendError(err)
	return s.out.Send(frame.KindProblem)
}
