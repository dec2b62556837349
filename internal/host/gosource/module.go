package gosource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// Find returns the module that dir belongs to, the one with the nearest go.mod in
// dir or its parents (cmd/go, modload.findModuleRoot).
func Find(dir string) (Module, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Module{}, err
	}
	for root := dir; ; root = filepath.Dir(root) {
		m, err := readModule(root)
		switch {
		case err == nil || !errors.Is(err, fs.ErrNotExist):
			return m, err
		case root == filepath.Dir(root):
			return Module{}, fmt.Errorf("%s: %w", dir, ErrNoModule)
		}
	}
}

// readModule reads the go.mod and vendor directory in root. Of a go.mod that the go
// command would reject, it takes what can be parsed.
func readModule(root string) (Module, error) {
	name := filepath.Join(root, "go.mod")
	data, err := readFile(name)
	if err != nil {
		return Module{}, err
	}
	m := Module{Root: root, Path: modfile.ModulePath(data)}
	if m.Path == "" {
		return Module{}, fmt.Errorf("%s names no module", name)
	}
	f, err := modfile.Parse(name, data, nil)
	if err != nil {
		f, err = modfile.ParseLax(name, data, nil)
	}
	if err == nil {
		for _, r := range f.Require {
			m.Require = append(m.Require, r.Mod)
		}
		m.addReplaces(root, f.Replace)
	}
	m.readVendor(filepath.Join(root, "vendor"))
	return m, nil
}

// addReplaces adds the replace directives of a go.mod or go.work in dir.
func (m *Module) addReplaces(dir string, directives []*modfile.Replace) {
	for _, r := range directives {
		n := r.New
		if n.Version == "" && !filepath.IsAbs(n.Path) {
			n.Path = filepath.Join(dir, filepath.FromSlash(n.Path))
		}
		m.Replace = append(m.Replace, Replacement{r.Old, n})
	}
}

// addWork adds the modules that a go.work uses. Its replace directives and the
// vendor directory beside it apply to all of them.
func (s *Source) addWork(name string) error {
	data, err := readFile(name)
	if err != nil {
		return err
	}
	w, err := modfile.ParseWork(name, data, nil)
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	for _, use := range w.Use {
		root := filepath.FromSlash(use.Path)
		if !filepath.IsAbs(root) {
			root = filepath.Join(dir, root)
		}
		if m, err := readModule(root); err == nil {
			s.add(m)
		}
	}
	for i := range s.Modules {
		s.Modules[i].addReplaces(dir, w.Replace)
		if s.Modules[i].VendorDir == "" {
			s.Modules[i].readVendor(filepath.Join(dir, "vendor"))
		}
	}
	return nil
}

// readVendor reads dir/modules.txt (cmd/go, modload.readVendorList):
//
//	# PATH VERSION [=> PATH [VERSION]]
func (m *Module) readVendor(dir string) {
	data, err := readFile(filepath.Join(dir, "modules.txt"))
	if err != nil {
		return
	}
	m.VendorDir = dir
	for line := range bytes.Lines(data) {
		text, ok := strings.CutPrefix(string(line), "# ")
		if !ok {
			continue
		}
		old, replacement, ok := strings.Cut(strings.TrimSpace(text), " => ")
		v := VendoredModule{Version: parseVersion(old)}
		if ok {
			r := parseVersion(replacement)
			v.Replace = &r
		}
		m.Vendor = append(m.Vendor, v)
	}
}

func parseVersion(s string) module.Version {
	path, version, _ := strings.Cut(s, " ")
	return module.Version{Path: path, Version: version}
}

// Bounds of the search for nested modules, which may start in a home directory.
const (
	maxNestedDirs    = 10_000
	maxNestedModules = 256
)

// nestedRoots returns the directories below root that hold a go.mod, the nearest
// first. Like the go command, it ignores vendor, testdata and names that begin with
// . or _; it also ignores node_modules.
func nestedRoots(ctx context.Context, root string) (roots []string) {
	queue := []string{root}
	for i := 0; i < len(queue) && i < maxNestedDirs && ctx.Err() == nil; i++ {
		entries, err := os.ReadDir(queue[i])
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := e.Name()
			switch {
			case e.Type().IsRegular() && name == "go.mod" && i > 0:
				roots = append(roots, queue[i])
			case !e.IsDir() || name[0] == '.' || name[0] == '_' || name == "vendor" || name == "testdata" || name == "node_modules":
			case len(queue) < maxNestedDirs:
				queue = append(queue, filepath.Join(queue[i], name))
			}
		}
		if len(roots) >= maxNestedModules {
			break
		}
	}
	return roots
}
