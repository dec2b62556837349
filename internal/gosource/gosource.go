// Package gosource knows the Go source on the host: where the module is that a
// directory belongs to.
package gosource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/modfile"
)

// Module is a directory that holds a go.mod.
type Module struct {
	Root string // absolute, as named: symbolic links stand
	Path string // the module's path
}

// ErrNoModule says that no go.mod stands in a directory or above it.
var ErrNoModule = errors.New("no go.mod here or above")

// Find returns the module that dir belongs to: that of the nearest go.mod, in
// dir or above it (cmd/go, modload.findModuleRoot).
func Find(dir string) (Module, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Module{}, err
	}
	for root := dir; ; root = filepath.Dir(root) {
		data, err := os.ReadFile(filepath.Join(root, "go.mod"))
		switch {
		case err == nil:
			return parse(root, data)
		case !errors.Is(err, fs.ErrNotExist):
			return Module{}, err
		case root == filepath.Dir(root):
			return Module{}, fmt.Errorf("%s: %w", dir, ErrNoModule)
		}
	}
}

func parse(root string, data []byte) (Module, error) {
	path := modfile.ModulePath(data)
	if path == "" {
		return Module{}, fmt.Errorf("%s names no module", filepath.Join(root, "go.mod"))
	}
	return Module{Root: root, Path: path}, nil
}
