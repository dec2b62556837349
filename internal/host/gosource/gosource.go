// Package gosource finds the Go source on the host: the modules around a
// directory, their vendored dependencies, go env and the module cache. It changes
// nothing but the module cache, into which a [Fetcher] downloads.
package gosource

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/module"
)

// maxFileSize bounds the size of a go.mod, go.sum or modules.txt, in bytes, since a
// workspace is untrusted.
const maxFileSize = 16 << 20

// ErrNoModule means that neither a directory nor any of its parents holds a go.mod.
var ErrNoModule = errors.New("no go.mod in this directory or its parents")

// Module is a directory that holds a go.mod.
type Module struct {
	Root      string // absolute, symbolic links not resolved
	Path      string // module path
	Require   []module.Version
	Replace   []Replacement    // including those of go.work
	VendorDir string           // where its dependencies are vendored, "" if they are not
	Vendor    []VendoredModule // as listed in modules.txt
}

// Replacement is a replace directive. If New is a directory, its path is absolute
// and it has no version.
type Replacement struct {
	Old, New module.Version
}

// VendoredModule is a module in a vendor directory.
type VendoredModule struct {
	module.Version
	Replace *module.Version // as in modules.txt; nil if it was not replaced
}

// Source is the Go source around a directory.
type Source struct {
	Modules []Module // the directory's own first, then go.work's, then nested ones
	Env     Env      // zero if there is no go command
	Problem error    // why something could not be read; the other fields are valid nevertheless
}

// Read finds the source around dir. It runs the go command, which reads the
// workspace but executes nothing in it, not even another toolchain that go.mod asks
// for. Its error means that dir itself is unusable.
func Read(ctx context.Context, dir string) (Source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Source{}, err
	}
	var s Source
	s.Env, s.Problem = readEnv(ctx, dir)
	root := dir
	own, err := Find(dir)
	switch {
	case err == nil:
		root = own.Root
		s.Modules = append(s.Modules, own)
	case !errors.Is(err, ErrNoModule):
		s.Problem = errors.Join(s.Problem, err)
	}
	if s.Env.GOWORK != "" && s.Env.GOWORK != "off" {
		if err := s.addWork(s.Env.GOWORK); err != nil {
			s.Problem = errors.Join(s.Problem, err)
		}
	}
	for _, nested := range nestedRoots(ctx, root) {
		if m, err := readModule(nested); err == nil {
			s.add(m)
		}
	}
	return s, nil
}

// add adds a module unless there is one with the same root.
func (s *Source) add(m Module) {
	if !slices.ContainsFunc(s.Modules, func(have Module) bool { return have.Root == m.Root }) {
		s.Modules = append(s.Modules, m)
	}
}

// Exists reports whether path exists on the host.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// RealPath returns path with symbolic links resolved, or path itself if that fails.
func RealPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// readFile reads a file of the workspace, which is bounded by maxFileSize.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = &os.PathError{Op: "read", Path: name, Err: errors.New("too large")}
	}
	return data, err
}
