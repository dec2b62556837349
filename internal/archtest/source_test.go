package archtest

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
)

// checkProcess keeps what is global to a process in cmd.
func (r *repository) checkProcess() []violation {
	forbidden := map[string][]string{
		"os":  {"Args", "Exit", "Environ", "ExpandEnv", "Getenv", "LookupEnv"},
		"log": {"Fatal", "Fatalf", "Fatalln"}, // os.Exit by another name
	}
	var all []violation
	for _, f := range r.source {
		program := f.ast.Name.Name == "main" && within(f.dir, "internal/demo")
		if f.test || program || within(f.dir, "cmd", "e2e", "docs", "internal/testenv") {
			continue
		}
		for p, names := range forbidden {
			for _, use := range uses(f, p, names) {
				all = append(all, violation{r.at(use.Pos(), "%s.%s", p, use.Sel.Name), "arguments and environment are read and the process is ended in cmd: what takes them as parameters can be tested, and called twice"})
			}
		}
	}
	return all
}

// uses returns the selectors in f of the given names of the package importPath.
func uses(f *source, importPath string, names []string) []*ast.SelectorExpr {
	local := ""
	for _, spec := range f.ast.Imports {
		if spec.Path.Value != `"`+importPath+`"` {
			continue
		}
		local = path.Base(importPath)
		if spec.Name != nil {
			local = spec.Name.Name
		}
	}
	var all []*ast.SelectorExpr
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
			for _, name := range names {
				if sel.Sel.Name == name {
					all = append(all, sel)
				}
			}
		}
		return true
	})
	return all
}

// checkSkips has tests skip through internal/testenv. A fuzz target may skip an input.
func (r *repository) checkSkips() []violation {
	var all []violation
	for _, f := range r.source {
		if !f.test || path.Base(f.name) == "fuzz_test.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !strings.HasPrefix(sel.Sel.Name, "Skip") {
				return true
			}
			switch x, _ := sel.X.(*ast.Ident); {
			case x == nil:
			case x.Name == "t", x.Name == "tb", x.Name == "b", x.Name == "f":
				all = append(all, violation{r.at(sel.Pos(), "%s.%s", x.Name, sel.Sel.Name), "a test that cannot run skips through internal/testenv, by which it fails in CI, where nothing is left out unseen"})
			}
			return true
		})
	}
	return all
}

// checkDotImports keeps the other rules honest: they look for selectors.
func (r *repository) checkDotImports() []violation {
	var all []violation
	for _, f := range r.source {
		for _, spec := range f.ast.Imports {
			if spec.Name != nil && spec.Name.Name == "." {
				all = append(all, violation{r.at(spec.Pos(), "dot import"), "a reader must see where a name comes from, and so must these tests"})
			}
		}
	}
	return all
}

func (r *repository) checkNames() []violation {
	var all []violation
	for _, f := range r.source {
		for _, name := range []string{path.Base(f.dir), strings.TrimSuffix(f.ast.Name.Name, "_test")} {
			switch name {
			case "util", "utils", "common", "helper", "helpers", "types", "base":
				all = append(all, violation{r.at(f.ast.Name.Pos(), "package %s", name), "a package is named for what it gives, not for what did not fit elsewhere"})
			}
		}
	}
	return all
}

// allowedVars are package variables that have a reason, as "dir.name".
func allowedVars() map[string]string {
	return map[string]string{
		"cmd/dapbridge.release": "the linker sets it, and can set nothing else",
		"cmd/dapbridge.agents":  "the linker sets it, and can set nothing else",
	}
}

func (r *repository) checkVars() []violation {
	var all []violation
	for _, f := range r.source {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				spec := spec.(*ast.ValueSpec)
				if embeds(gen.Doc) || embeds(spec.Doc) {
					continue
				}
				for i, name := range spec.Names {
					if name.Name != "_" && !isSentinel(spec, i) && allowedVars()[f.dir+"."+name.Name] == "" {
						all = append(all, violation{r.at(name.Pos(), "var %s", name.Name), "a package variable is state that no caller can see: only errors, embedded files and assertions may be one"})
					}
				}
			}
		}
	}
	return all
}

func embeds(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// isSentinel reports whether the i-th variable of spec is an error, by its
// name and how it is made.
func isSentinel(spec *ast.ValueSpec, i int) bool {
	if !strings.HasPrefix(strings.ToLower(spec.Names[i].Name), "err") || i >= len(spec.Values) {
		return false
	}
	call, ok := spec.Values[i].(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (sel.Sel.Name == "New" || sel.Sel.Name == "Errorf")
}

func (r *repository) checkPackageComments() []violation {
	documented := map[string]bool{}
	first := map[string]*source{}
	for _, f := range r.source {
		if f.test {
			continue
		}
		if first[f.dir] == nil || f.name < first[f.dir].name {
			first[f.dir] = f
		}
		if f.ast.Doc != nil {
			documented[f.dir] = true
		}
	}
	var all []violation
	for dir, f := range first {
		if !documented[dir] {
			all = append(all, violation{r.at(f.ast.Package, "package %s has no comment", f.ast.Name.Name), "the first thing that a reader wants to know is what a package is for"})
		}
	}
	return all
}
