package pathmap

import (
	"fmt"
	"path"
	"strings"
)

// Target holds what a target's binary says about its source.
type Target struct {
	ModulePath  string // of the main module; empty in a GOPATH build
	MainPackage string // import path of the main package
	MainFile    string // source of main.main, as the function table has it
}

// Workspace is a directory of the host with a go.mod.
type Workspace struct {
	Root       string
	ModulePath string
}

// Infer derives the rule for the target's main module: the source file of
// main.main less the main package's directory is the module's root on the
// machine that built it, be it a checkout, the module cache or what -trimpath
// leaves. If there is no rule, reason says why, for a person.
func Infer(t Target, workspaces []Workspace) (rules []Rule, reason string) {
	if reason := unfit(t); reason != "" {
		return nil, reason
	}
	w, reason := choose(t, workspaces)
	if reason != "" {
		return nil, reason
	}
	root, reason := moduleRoot(t, w.ModulePath)
	if reason != "" {
		return nil, reason
	}
	r, err := check(Rule{Host: w.Root, Node: root, Reason: "main module " + w.ModulePath})
	if err != nil {
		return nil, err.Error()
	}
	return []Rule{r}, ""
}

// unfit says why t does not tell where its source was, if so.
func unfit(t Target) string {
	switch {
	case t.MainFile == "":
		return "the target does not say which file its main function is in"
	case t.MainPackage == "":
		return "the target holds no build information, so its main package is not known"
	case t.MainPackage == "command-line-arguments":
		return "the target was built from a list of files, which records neither package nor module: build the package instead (go build ./cmd/name)"
	case path.Base(t.MainFile) == "_testmain.go":
		return "the target is a test binary, whose main function is generated"
	}
	return ""
}

// choose returns the workspace that holds the target's main module.
func choose(t Target, workspaces []Workspace) (Workspace, string) {
	var found []Workspace
	for _, w := range workspaces {
		if !holds(w, t) {
			continue
		}
		if len(found) > 0 && w.Root != found[0].Root {
			return w, fmt.Sprintf("both %s and %s hold the module %s", found[0].Root, w.Root, w.ModulePath)
		}
		found = append(found, w)
	}
	if len(found) == 0 {
		return Workspace{}, mismatch(t, workspaces)
	}
	return found[0], ""
}

// holds reports whether w is the main module of t. A GOPATH build records no
// module, but its import paths begin with the path that go.mod would have.
func holds(w Workspace, t Target) bool {
	if t.ModulePath != "" {
		return w.ModulePath == t.ModulePath
	}
	_, ok := inModule(t.MainPackage, w.ModulePath)
	return ok
}

func mismatch(t Target, workspaces []Workspace) string {
	want := "the target's main module is " + t.ModulePath
	if t.ModulePath == "" {
		want = "the target's main package is " + t.MainPackage
	}
	if len(workspaces) == 0 {
		return want + ", and no go.mod was found on the host"
	}
	var have []string
	for _, w := range workspaces {
		have = append(have, fmt.Sprintf("%s in %s", w.ModulePath, w.Root))
	}
	return want + ", but the host has " + strings.Join(have, " and ")
}

// moduleRoot returns the directory of the main module as the target spells it.
func moduleRoot(t Target, module string) (root, reason string) {
	dir := path.Dir(t.MainFile)
	below, ok := inModule(t.MainPackage, module)
	if !ok {
		return "", fmt.Sprintf("the target's main package %s is not in its main module %s", t.MainPackage, module)
	}
	root, ok = strings.CutSuffix(dir, below)
	switch {
	case !ok || root == ".":
		return "", fmt.Sprintf("the target's main function is in %s, which does not fit its package %s", t.MainFile, t.MainPackage)
	case root == "":
		root = "/"
	}
	return root, ""
}

// inModule returns what is left of an import path below a module's, "" or
// "/cmd/name".
func inModule(importPath, module string) (below string, ok bool) {
	below, ok = strings.CutPrefix(importPath, module)
	return below, ok && module != "" && (below == "" || below[0] == '/')
}
