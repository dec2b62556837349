package pathmap

import (
	"fmt"
	"strings"
)

// Target holds what a target's binary says about its source.
type Target struct {
	GoVersion     string   // as runtime.Version has it
	ModulePath    string   // of the main module; empty in a build by GOPATH or Bazel
	ModuleVersion string   // of the main module
	MainPackage   string   // import path of the main package, if known
	Modules       []Module // dependencies, if known
	Dirs          []Dir    // from the table of source files
}

// Module is a module at a version, as Go's build information has it.
type Module struct {
	Path    string
	Version string  // empty for a local directory, "(devel)" for a workspace's
	Replace *Module // what was built in its place
}

// String returns the module as go.mod and vendor/modules.txt have it.
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

// Dir is a directory as the compiler was told of it, and the files in it that
// the binary has code of.
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
	Unassigned []Dir     // what belongs to no module that is known
	// Problem says, for a person, why the main module is not mapped, if so.
	Problem string
}

// Kind says what a [Finding] is.
type Kind int

// The kinds.
const (
	Main Kind = iota // the target's main module
	Dependency
	Library // the standard library
)

// Finding is one part of the target's source, and where it is on the host.
type Finding struct {
	Kind   Kind
	Module Module // of the standard library the version is Go's, and there is no path
	Node   string // its tree as the target spells it
	Host   string // its tree on the host, empty if there can be none
	Reason string // why there
	// Missing says that Host would have it if it were fetched: into the host's
	// module cache, as module Fetch.
	Missing  bool
	Fetch    Module
	Files    int        // that the target has of it
	OnHost   int        // those of them that the host has
	Rejected []Rejected // other places
}

// Lost is a place of the host that was not taken, and why.
type Rejected struct {
	Host string
	Why  string
}

// String names what was found, for a person.
func (f Finding) String() string {
	switch f.Kind {
	case Library:
		return "standard library " + f.Module.Version
	case Main:
		return "main module " + f.Module.String()
	}
	return "module " + f.Module.String()
}

// Infer works out where the source of a target is on the host. The import path
// of the package in a directory tells which module the directory is of, and
// what of it stands behind the module's root: so the roots show, wherever the
// binary was built and whatever -trimpath, vendoring or a sandbox left of the
// names. The build information says which versions these are; for each the host
// is asked for the very same one.
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

// addRules makes the map of the findings: first each one's tree, then the files
// that the target has under other names, then what else a tree is called on the
// host.
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

// addStray adds a rule for each file that the host has and the target knows
// below another root than the rest of its module: the main package under
// -gcflags=-trimpath, what Bazel generates.
func (in *Inference) addStray(h Host, f Finding, root string, dirs []Dir, names map[string]bool) {
	for _, d := range dirs {
		for _, file := range d.Files {
			name := d.path(file)
			below := strings.TrimPrefix(strings.TrimPrefix(name, strings.TrimSuffix(root, ".")), "/")
			host := joinHost(f.Host, below)
			if f.Host == "" || !isClean([]byte(below)) || strings.Contains(below, `\`) || !h.Tree.Has(host) {
				continue // a name that leads out of the tree is not looked at
			}
			r := Rule{Host: host, Node: name, Reason: f.fullReason() + ", known to the binary as below " + root}
			if names[joinHost(f.Node, below)] {
				r.Way = OnlyToHost
			}
			in.add(r)
		}
	}
}

// addAliases adds the other names of a finding's tree on the host, which an IDE
// may send: that behind symbolic links, and a second copy of the same version.
func (in *Inference) addAliases(h Host, f Finding) {
	if f.Host == "" || f.Missing {
		return
	}
	if real := h.Tree.Real(f.Host); real != f.Host {
		in.add(Rule{Host: real, Node: f.Node, Reason: f.fullReason() + ", behind the symbolic link " + f.Host, Way: OnlyToNode})
	}
	for _, l := range f.Rejected {
		if l.Why == sameVersion {
			in.add(Rule{Host: l.Host, Node: f.Node, Reason: f.fullReason() + ", " + sameVersion, Way: OnlyToNode})
		}
	}
}

// add adds a rule to the map: in one direction if the other is taken, by a
// finding before it, and not at all if both are.
func (in *Inference) add(r Rule) {
	if r.Host == "" {
		return
	}
	if in.Map.add(r) == nil || r.Way != BothWays {
		return
	}
	for _, r.Way = range []Way{OnlyToHost, OnlyToNode} {
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

// Find returns what a file of the target belongs to.
func (in Inference) Find(name string) (f Finding, ok bool) {
	best := -1
	for _, c := range in.Findings {
		if _, below := c.pathBelow(name); below && len(c.Node) > best {
			f, ok, best = c, true, len(c.Node)
		}
	}
	return f, ok
}

// below returns name without f's tree.
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

// At returns where a file of the target would be if f's tree stood in dir.
func (f Finding) At(dir, name string) string {
	below, _ := f.pathBelow(name)
	return joinHost(dir, below)
}

// count fills in how many files each finding has, and how many the host has.
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

// problem says why the workspace's own source is not mapped, if so.
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
