package filesync

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Scan returns the entries of the tree at dir that are copied, and what could not be
// read. Entries that appear or vanish meanwhile may or may not be in the manifest. It
// fails if dir itself cannot be read: a missing tree is not an empty one.
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

// scanDir scans a directory. Its error is fatal only for the top directory.
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
		child := tree.Join(path, info.Name())
		if len(child) > frame.MaxPath {
			s.problems = append(s.problems, tree.Problem{Path: child, Err: errLongPath})
			continue
		}
		e, err := tree.NewEntry(s.root, child, info)
		if err == nil && e.Kind == tree.Nothing {
			continue // a socket, a device or the like
		}
		if err == nil {
			s.manifest = append(s.manifest, e)
		}
		if err == nil && e.Kind == tree.Dir {
			err = s.scanSubdir(child, info.Name(), ignore)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have vanished
			if s.ctx.Err() != nil {
				return err
			}
			s.problems = append(s.problems, tree.Problem{Path: child, Err: err})
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
