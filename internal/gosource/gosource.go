// Package gosource knows the Go source on the host: the modules that a directory
// belongs to, go env, the module cache, what is vendored. It changes nothing but
// the module cache, into which a [Fetcher] downloads.
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

// fileLimit bounds a go.mod, go.sum or modules.txt, in bytes: a workspace may
// come from anybody.
const fileLimit = 16 << 20

// ErrNoModule says that no go.mod stands in a directory or above it.
var ErrNoModule = errors.New("no go.mod here or above")

// Module is a directory that holds a go.mod.
type Module struct {
	Root      string // absolute, as named: symbolic links stand
	Path      string // the module's path
	Require   []module.Version
	Replace   []Replacement    // also those of go.work
	VendorDir string           // where its dependencies are vendored, "" if they are not
	Vendor    []VendoredModule // as modules.txt there lists them
}

// Replacement is a replace directive. A local directory is absolute and has no
// version.
type Replacement struct {
	Old, New module.Version
}

// Vendored is a module in a vendor directory.
type VendoredModule struct {
	module.Version
	Replace *module.Version // as modules.txt has it; nil if it was not replaced
}

// Source is what there is of Go source around a directory.
type Source struct {
	Modules []Module // that of the directory first, then go.work's, then nested ones
	Env     Env      // zero without a go command
	// Problem says what could not be found out, and why; the rest holds all the
	// same.
	Problem error
}

// Read looks around dir. It runs the go command, which reads the workspace and
// executes nothing of it, not even another toolchain that go.mod asks for.
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

// add adds a module that is not there yet.
func (s *Source) add(m Module) {
	if !slices.ContainsFunc(s.Modules, func(have Module) bool { return have.Root == m.Root }) {
		s.Modules = append(s.Modules, m)
	}
}

// Has reports whether the host has such a file or directory.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Real returns path without symbolic links, or path itself if that can't be told.
func RealPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// readFile reads a file of the workspace.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(data) > fileLimit {
		err = &os.PathError{Op: "read", Path: name, Err: errors.New("too large")}
	}
	return data, err
}
