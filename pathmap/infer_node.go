package pathmap

import (
	"cmp"
	"slices"
	"strings"
)

// part is what the target has of one module: its directories, by the roots that
// the module seems to have.
type part struct {
	finding   Finding // kind and module
	roots     map[string][]Dir
	sure      map[string]bool // roots that more than one package in the root itself speaks for
	order     []string        // the roots: sure ones first, then those of most files
	spellings []string        // see (Module).spellings
}

// add adds a directory below a root. In the root itself stands a package whose
// import path says nothing of its place; all others do.
func (p *part) add(root string, d Dir) {
	if p.roots == nil {
		p.roots, p.sure = map[string][]Dir{}, map[string]bool{}
	}
	p.roots[root] = append(p.roots[root], d)
	p.sure[root] = p.sure[root] || d.Dir != root
	for _, name := range p.spellings {
		p.sure[root] = p.sure[root] || strings.HasSuffix("/"+root+"/", name)
	}
}

func (p *part) rank() {
	files := map[string]int{}
	for root, dirs := range p.roots {
		p.order = append(p.order, root)
		for _, d := range dirs {
			files[root] += len(d.Files)
		}
	}
	slices.SortFunc(p.order, func(a, b string) int {
		switch {
		case p.sure[a] && !p.sure[b]:
			return -1
		case p.sure[b] && !p.sure[a]:
			return 1
		}
		return cmp.Or(files[b]-files[a], cmp.Compare(a, b))
	})
}

// partition divides the target's directories among its modules.
type partition struct {
	t       Target
	parts   []*part
	library *part
}

// divide returns the parts that have files, and the directories that no module
// is known for.
func divide(t Target, h Host) (parts []*part, elsewhere []Dir) {
	pt := newPartition(t, h)
	var unplaced []Dir
	for _, d := range t.Dirs {
		p, root, ok := pt.byPackage(d)
		switch {
		case d.Dir == "":
			elsewhere = append(elsewhere, d)
		case ok:
			p.add(root, d)
		default:
			unplaced = append(unplaced, d)
		}
	}
	for _, d := range unplaced {
		if p, root, ok := pt.byName(d.Dir); ok {
			p.add(root, d)
		} else {
			elsewhere = append(elsewhere, d)
		}
	}
	for _, p := range append(pt.parts, pt.library) {
		if len(p.roots) > 0 {
			p.rank()
			parts = append(parts, p)
		}
	}
	slices.SortStableFunc(parts, byRank)
	return parts, elsewhere
}

// newPartition lists the modules of t. What it does not record, as in a build by
// GOPATH or Bazel, is what the host's workspaces say.
func newPartition(t Target, h Host) *partition {
	pt := &partition{t: t, library: &part{finding: Finding{Kind: Library, Module: Module{Version: release(t.GoVersion)}}}}
	known := map[string]bool{}
	add := func(k Kind, m Module) {
		if m.Path != "" && !known[m.Path] {
			known[m.Path] = true
			pt.parts = append(pt.parts, &part{finding: Finding{Kind: k, Module: m}, spellings: m.spellings()})
		}
	}
	add(Main, Module{Path: t.ModulePath, Version: t.ModuleVersion})
	for _, m := range t.Modules {
		add(Dependency, m)
	}
	if t.ModulePath != "" {
		return pt
	}
	for _, w := range h.Workspaces {
		add(Main, Module{Path: w.ModulePath})
	}
	if len(t.Modules) == 0 {
		for _, w := range h.Workspaces {
			for _, m := range w.Require {
				add(Dependency, m)
			}
		}
	}
	return pt
}

// release returns the version of Go without what follows it, such as
// experiments.
func release(version string) string {
	first, _, _ := strings.Cut(version, " ")
	return first
}

// byPackage returns the part that the package in d is of, and the module's root
// that follows from its place.
func (pt *partition) byPackage(d Dir) (p *part, root string, ok bool) {
	pkg := d.Package
	if pkg == "main" {
		pkg = pt.t.MainPackage
	}
	if pkg == "" || pkg == "command-line-arguments" {
		return nil, "", false
	}
	for _, c := range pt.parts {
		path := c.finding.Module.Path
		if inTree(pkg, path) && (p == nil || len(path) > len(p.finding.Module.Path)) {
			p = c
		}
	}
	below := "/" + pkg
	switch {
	case p != nil:
		below = pkg[len(p.finding.Module.Path):]
	case ofStandardLibrary([]byte(pkg)):
		p = pt.library
	default:
		return nil, "", false
	}
	if root, ok = rootOf(d.Dir, below); !ok {
		root, ok = rootOf(d.Dir, strings.TrimSuffix(below, "_test"))
	}
	return p, root, ok
}

// rootOf returns dir without below, which begins with a slash or is empty. A
// relative root that is empty is ".".
func rootOf(dir, below string) (root string, ok bool) {
	if dir == strings.TrimPrefix(below, "/") {
		return ".", true
	}
	root, ok = strings.CutSuffix(dir, below)
	if root == "" {
		root = "/"
	}
	return root, ok
}

// byName returns the part that a directory is of which has no package, because
// all of its code was inlined, or another one than its path says. It goes by the
// names that vendoring and the module cache give, and then by what has been
// found above it.
func (pt *partition) byName(dir string) (p *part, root string, ok bool) {
	if p, root := pt.bySpelling(dir); p != nil {
		return p, root, true
	}
	for _, c := range append(slices.Clone(pt.parts), pt.library) {
		for r := range c.roots {
			if inTree(dir, r) && len(r) > len(root) {
				p, root = c, r
			}
		}
	}
	if _, trimmed := pt.library.roots["."]; p == nil && trimmed && !absolute([]byte(dir)) && ofStandardLibrary([]byte(dir)) {
		return pt.library, ".", true
	}
	return p, root, p != nil
}

// bySpelling finds the dependency that a directory is named after. The standard
// library has a vendor directory of its own.
func (pt *partition) bySpelling(dir string) (p *part, root string) {
	for r := range pt.library.roots {
		if inTree(dir, r) {
			return nil, ""
		}
	}
	slashed := "/" + dir + "/"
	for _, c := range pt.parts {
		for _, name := range c.spellings {
			if i := strings.LastIndex(slashed, name); i > 0 || i == 0 && !strings.HasPrefix(name, "/vendor/") {
				if end := i + len(name) - 2; end > len(root) {
					p, root = c, dir[:end]
				}
			}
		}
	}
	return p, root
}

// spellings returns how directories of a dependency's end, between slashes: in
// a module cache, in what -trimpath leaves of that, in a vendor directory.
func (m Module) spellings() []string {
	var list []string
	for _, v := range []*Module{&m, m.Replace} {
		if v == nil || v.Version == "" {
			continue
		}
		list = append(list, "/"+v.Path+"@"+v.Version+"/")
		if dir, ok := cacheDir(*v); ok && dir != v.Path+"@"+v.Version {
			list = append(list, "/"+dir+"/")
		}
	}
	return append(list, "/vendor/"+m.Path+"/")
}

// inTree reports whether a path or an import path is root or below it.
func inTree(p, root string) bool {
	below, ok := strings.CutPrefix(p, root)
	return ok && root != "" && (below == "" || below[0] == '/' || strings.HasSuffix(root, "/"))
}

// byRank sorts parts as they are shown: the main module, dependencies by path,
// the standard library.
func byRank(a, b *part) int {
	return cmp.Or(cmp.Compare(a.finding.Kind, b.finding.Kind), cmp.Compare(a.finding.Module.Path, b.finding.Module.Path))
}
