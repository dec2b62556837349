package pathmap

import (
	"fmt"
	"strings"
)

// Target is what a target's binary says about its source.
type Target struct {
	GoVersion     string   // as runtime.Version returns it
	ModulePath    string   // of the main module; empty in GOPATH and Bazel builds
	ModuleVersion string   // of the main module
	MainPackage   string   // import path of the main package, if known
	Modules       []Module // dependencies, if known
	Dirs          []Dir    // from the table of source files
}

// Module is a module at a version, as in Go's build information.
type Module struct {
	Path    string
	Version string  // empty for a local directory, "(devel)" for a workspace's
	Replace *Module // the module that replaced it in the build
}

// String returns the module in the form of go.mod and vendor/modules.txt.
func (m Module) String() string {
	s := m.Path
	if m.Version != "" {
		s += " " + m.Version
	}
	if m.Replace != nil {
		s += " => " + m.Replace.String()
	}
	return s
}

// Dir is a directory, as it was named to the compiler, and the files in it that the
// binary has code from.
type Dir struct {
	Dir     string
	Package string // import path, or main; empty if unknown
	Files   []string
}

// Names returns all files of the target.
func (t Target) Names() []string {
	var names []string
	for _, d := range t.Dirs {
		for _, f := range d.Files {
			names = append(names, d.path(f))
		}
	}
	return names
}

func (d Dir) path(file string) string {
	if d.Dir == "" || d.Dir == "/" {
		return d.Dir + file
	}
	return d.Dir + "/" + file
}

// Inference is what [Infer] found.
type Inference struct {
	Map        *Map
	Findings   []Finding // the main module first, the standard library last
	Unassigned []Dir     // directories that belong to no known module
	// Problem tells the user why the main module is not mapped; it is "" if it is mapped.
	Problem string
}

// Kind is the kind of a [Finding].
type Kind int

// The kinds of findings.
const (
	Main Kind = iota // the target's main module
	Dependency
	Library // the standard library
)

// Finding is one module of the target's source, and its location on the host.
type Finding struct {
	Kind   Kind
	Module Module // the standard library has Go's version and no path
	Node   string // its tree in the target's binary
	Host   string // its tree on the host; "" if there cannot be one
	Reason string // for choosing Host
	// Missing means that Host exists only once module Fetch has been fetched into the
	// host's module cache.
	Missing  bool
	Fetch    Module
	Files    int        // of the target in the module
	OnHost   int        // those that the host has
	Rejected []Rejected // locations that were not chosen
}

// Rejected is a location on the host that was considered but not chosen, and why.
type Rejected struct {
	Host string
	Why  string
}

// String returns the module's name for display.
func (f Finding) String() string {
	switch f.Kind {
	case Library:
		return "standard library " + f.Module.Version
	case Main:
		return "main module " + f.Module.String()
	}
	return "module " + f.Module.String()
}

// Infer finds the source of a target on the host. The import path of a directory's
// package determines the directory's module and its path below the module's root. So
// Infer finds the roots wherever the binary was built, and whatever -trimpath, vendoring
// or a sandbox did to the names. For each module it looks on the host for exactly the
// version that the build information records.
func Infer(t Target, h Host) Inference {
	parts, elsewhere := divideDirs(t, h)
	in := Inference{Map: newMap(), Unassigned: elsewhere}
	for _, p := range parts {
		f := h.locate(p.finding)
		f.Node = p.order[0]
		if f.Kind == Library && f.Node == "." {
			f.Node = "std"
		}
		in.Findings = append(in.Findings, f)
	}
	in.addRules(t, h, parts)
	in.countFiles(h, parts)
	in.Problem = in.describeProblem(t, h)
	return in
}

// addRules adds the rules for the findings to the map: first each finding's tree, then
// files that have other names in the target, then other names of the trees on the host.
func (in *Inference) addRules(t Target, h Host, parts []*part) {
	for _, f := range in.Findings {
		in.add(Rule{Host: f.Host, Node: f.Node, Reason: f.fullReason()})
	}
	names := map[string]bool{}
	for _, name := range t.Names() {
		names[name] = true
	}
	for i, p := range parts {
		for _, root := range p.order[1:] {
			in.addStray(h, in.Findings[i], root, p.roots[root], names)
		}
	}
	for _, f := range in.Findings {
		in.addAliases(h, f)
	}
}

// addStray adds a rule for each file that the host has and that, in the target, is below
// a different root than the rest of its module: the main package under
// -gcflags=-trimpath, or files that Bazel generates.
func (in *Inference) addStray(h Host, f Finding, root string, dirs []Dir, names map[string]bool) {
	for _, d := range dirs {
		for _, file := range d.Files {
			name := d.path(file)
			below := strings.TrimPrefix(strings.TrimPrefix(name, strings.TrimSuffix(root, ".")), "/")
			host := joinHost(f.Host, below)
			if f.Host == "" || !isClean([]byte(below)) || strings.Contains(below, `\`) || !h.Tree.Has(host) {
				continue // never look outside the tree
			}
			r := Rule{Host: host, Node: name, Reason: f.fullReason() + ", known to the binary as below " + root}
			if names[joinHost(f.Node, below)] {
				r.Scope = OnlyToHost
			}
			in.add(r)
		}
	}
}

// addAliases adds other names of a finding's tree on the host, which an IDE may send: the
// tree without symbolic links, and another copy of the same version.
func (in *Inference) addAliases(h Host, f Finding) {
	if f.Host == "" || f.Missing {
		return
	}
	if real := h.Tree.Real(f.Host); real != f.Host {
		in.add(Rule{Host: real, Node: f.Node, Reason: f.fullReason() + ", behind the symbolic link " + f.Host, Scope: OnlyToNode})
	}
	for _, l := range f.Rejected {
		if l.Why == sameVersion {
			in.add(Rule{Host: l.Host, Node: f.Node, Reason: f.fullReason() + ", " + sameVersion, Scope: OnlyToNode})
		}
	}
}

// add adds a rule to the map, except for directions in which it conflicts with an
// earlier rule.
func (in *Inference) add(r Rule) {
	if r.Host == "" {
		return
	}
	if in.Map.add(r) == nil || r.Scope != Both {
		return
	}
	for _, r.Scope = range []Scope{OnlyToHost, OnlyToNode} {
		if in.Map.add(r) == nil {
			return
		}
	}
}

func (f Finding) fullReason() string {
	if f.Reason == "" {
		return f.String()
	}
	return f.String() + ": " + f.Reason
}

// Find returns the finding that a file of the target belongs to.
func (in Inference) Find(name string) (f Finding, ok bool) {
	best := -1
	for _, c := range in.Findings {
		if _, below := c.pathBelow(name); below && len(c.Node) > best {
			f, ok, best = c, true, len(c.Node)
		}
	}
	return f, ok
}

// pathBelow returns the part of name below f's tree, and whether name is in that tree.
func (f Finding) pathBelow(name string) (string, bool) {
	switch f.Node {
	case "std":
		return name, !isAbsolute([]byte(name)) && isStandardLibrary([]byte(name))
	case ".":
		return name, !isAbsolute([]byte(name))
	}
	below, _ := strings.CutPrefix(name, f.Node)
	return strings.TrimPrefix(below, "/"), isInTree(name, f.Node)
}

// At returns the path that a file of the target would have if f's tree were dir.
func (f Finding) At(dir, name string) string {
	below, _ := f.pathBelow(name)
	return joinHost(dir, below)
}

// countFiles sets Files and OnHost of each finding.
func (in *Inference) countFiles(h Host, parts []*part) {
	for i, p := range parts {
		f := &in.Findings[i]
		for _, dirs := range p.roots {
			for _, d := range dirs {
				f.Files += len(d.Files)
				if f.Host == "" || f.Missing {
					continue
				}
				for _, file := range d.Files {
					if host, ok := in.Map.ToHost(d.path(file)); ok && h.Tree.Has(host) {
						f.OnHost++
					}
				}
			}
		}
	}
}

// describeProblem returns why the main module is not mapped, or "" if it is.
func (in *Inference) describeProblem(t Target, h Host) string {
	for _, f := range in.Findings {
		if f.Kind == Main && f.Host != "" {
			return ""
		}
	}
	if len(t.Dirs) == 0 {
		return "the target does not say which files it was compiled from"
	}
	if t.MainPackage == "command-line-arguments" && t.ModulePath == "" {
		return "the target was built from a list of files, which records no module: build the package instead (go build ./cmd/name)"
	}
	return describeMismatch(t, h.Workspaces)
}

// describeMismatch returns which main module the target has and which ones the host has.
func describeMismatch(t Target, workspaces []Workspace) string {
	want := "the target's main module is " + t.ModulePath
	switch {
	case t.ModulePath != "":
	case t.MainPackage != "":
		want = "the target's main package is " + t.MainPackage
	default:
		want = "the target holds no build information"
	}
	if len(workspaces) == 0 {
		return want + ", and no go.mod was found on the host"
	}
	var have []string
	for _, w := range workspaces[:min(len(workspaces), 5)] {
		have = append(have, fmt.Sprintf("%s in %s", w.ModulePath, w.Root))
	}
	if more := len(workspaces) - len(have); more > 0 {
		have = append(have, fmt.Sprintf("%d more", more))
	}
	return want + ", but the host has " + strings.Join(have, " and ")
}
