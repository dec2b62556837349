package filesync

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Scan returns what is copied of the tree at dir, and what could not be read. What
// appears or vanishes meanwhile may be in the manifest or not. It fails if dir itself
// cannot be read: a missing tree is not an empty one.
func Scan(ctx context.Context, dir string) (tree.Manifest, []tree.Problem, error) {
	ignore, err := LoadIgnore(dir)
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	s := scanner{ctx: ctx, root: root}
	if err := s.scanDir("", ignore); err != nil {
		return nil, nil, err
	}
	s.manifest.Sort()
	return s.manifest, s.problems, nil
}

type scanner struct {
	ctx      context.Context
	root     *os.Root
	manifest tree.Manifest
	problems []tree.Problem
}

// scanDir scans a directory. The caller treats an error as fatal for the top only.
func (s *scanner) scanDir(path string, ignore *Ignore) error {
	infos, err := tree.ReadDir(s.root, path)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if ignore.Match(info.Name(), info.IsDir()) {
			continue
		}
		below := tree.Join(path, info.Name())
		if len(below) > frame.MaxPath {
			s.problems = append(s.problems, tree.Problem{Path: below, Err: errLongPath})
			continue
		}
		e, err := tree.NewEntry(s.root, below, info)
		if err == nil && e.Kind == tree.Nothing {
			continue // a socket, a device or the like
		}
		if err == nil {
			s.manifest = append(s.manifest, e)
		}
		if err == nil && e.Kind == tree.Dir {
			err = s.scanSubdir(below, info.Name(), ignore)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have vanished
			if s.ctx.Err() != nil {
				return err
			}
			s.problems = append(s.problems, tree.Problem{Path: below, Err: err})
		}
	}
	return nil
}

func (s *scanner) scanSubdir(path, name string, ignore *Ignore) error {
	sub, err := ignore.Enter(name)
	if err != nil {
		return err
	}
	return s.scanDir(path, sub)
}
