package archtest

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// repository is the tree of files that the rules judge. Files of all platforms
// count, whatever this one builds.
type repository struct {
	module string
	fset   *token.FileSet
	source []*source         // the module's Go files
	text   map[string][]byte // every text file, by its slash-separated path
	files  []string          // the paths of all files
}

// source is a Go file of the module.
type source struct {
	name string // its path
	dir  string // its package's directory: "." or "internal/agent"
	test bool
	ast  *ast.File
}

// load reads a tree. It leaves out what is not of the repository (built files,
// installed packages) and, of Go files, testdata and other modules.
func load(tree fs.FS) (*repository, error) {
	r := &repository{fset: token.NewFileSet(), text: map[string][]byte{}}
	modules := map[string]bool{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "bin", "dist", "node_modules", ".vscode-test":
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		r.files = append(r.files, name)
		text, err := fs.ReadFile(tree, name)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			return err
		}
		r.text[name] = text
		if path.Base(name) == "go.mod" {
			modules[path.Dir(name)] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(r.text["go.mod"])) {
		if m, ok := strings.CutPrefix(line, "module "); ok {
			r.module = strings.TrimSpace(m)
		}
	}
	if r.module == "" {
		return nil, errors.New("go.mod names no module")
	}
	return r, r.parse(modules)
}

func (r *repository) parse(modules map[string]bool) error {
	for name, text := range r.text {
		if path.Ext(name) != ".go" || ignored(name, modules) {
			continue
		}
		file, err := parser.ParseFile(r.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		r.source = append(r.source, &source{
			name: name,
			dir:  path.Dir(name),
			test: strings.HasSuffix(name, "_test.go"),
			ast:  file,
		})
	}
	return nil
}

// ignored reports whether the go command passes over the file, or another
// module has it.
func ignored(name string, modules map[string]bool) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		base := path.Base(dir)
		if base == "testdata" || base[0] == '.' || base[0] == '_' || modules[dir] {
			return true
		}
	}
	return false
}

// imports returns the paths that the file imports, ours relative to the module
// ("./internal/diag").
func (r *repository) imports(f *source) map[string]*ast.ImportSpec {
	all := map[string]*ast.ImportSpec{}
	for _, spec := range f.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if rel, ours := strings.CutPrefix(p, r.module+"/"); ours {
			p = "./" + rel
		}
		all[p] = spec
	}
	return all
}

// at formats a violation.
func (r *repository) at(pos token.Pos, format string, args ...any) string {
	p := r.fset.Position(pos)
	return fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...))
}

// within reports whether p is root, or below it.
func within(p string, roots ...string) bool {
	for _, root := range roots {
		if p == root || strings.HasPrefix(p, root+"/") {
			return true
		}
	}
	return false
}
