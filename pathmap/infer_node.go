package pathmap

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// part holds the target's directories of one module, grouped by the roots that the
// module seems to have.
type part struct {
	finding   Finding // only kind and module are set
	roots     map[string][]Dir
	isSure    map[string]bool // roots with more evidence than a package in the root itself
	order     []string        // the roots: sure ones first, then by number of files
	spellings []string        // see (Module).spellings
}

// add adds a directory below a root. A package in the root itself is no evidence for the
// root: its import path is the module's, wherever it is.
func (p *part) add(root string, d Dir) {
	if p.roots == nil {
		p.roots, p.isSure = map[string][]Dir{}, map[string]bool{}
	}
	p.roots[root] = append(p.roots[root], d)
	p.isSure[root] = p.isSure[root] || d.Dir != root
	for _, name := range p.spellings {
		p.isSure[root] = p.isSure[root] || strings.HasSuffix("/"+root+"/", name)
	}
}

// sortRoots sets p.order.
func (p *part) sortRoots() {
	files := map[string]int{}
	for root, dirs := range p.roots {
		p.order = append(p.order, root)
		for _, d := range dirs {
			files[root] += len(d.Files)
		}
	}
	slices.SortFunc(p.order, func(a, b string) int {
		switch {
		case p.isSure[a] && !p.isSure[b]:
			return -1
		case p.isSure[b] && !p.isSure[a]:
			return 1
		}
		return cmp.Or(files[b]-files[a], cmp.Compare(a, b))
	})
}

// partition divides the target's directories among its modules.
type partition struct {
	t         Target
	parts     []*part
	paths     map[string]*part // by module path
	spellings map[string]*part // by spelling, see (Module).spellings
	roots     map[string]*part // by root, for those found by package
	library   *part
}

// divideDirs returns the parts with files, and the directories of no known module.
func divideDirs(t Target, h Host) (parts []*part, elsewhere []Dir) {
	pt := newPartition(t, h)
	var unplaced []Dir
	for _, d := range t.Dirs {
		p, root, ok := pt.findByPackage(d)
		switch {
		case d.Dir == "":
			elsewhere = append(elsewhere, d)
		case ok:
			p.add(root, d)
			pt.roots[root] = p
		default:
			unplaced = append(unplaced, d)
		}
	}
	for _, d := range unplaced {
		if p, root, ok := pt.findByName(d.Dir); ok {
			p.add(root, d)
		} else {
			elsewhere = append(elsewhere, d)
		}
	}
	for _, p := range append(pt.parts, pt.library) {
		if len(p.roots) > 0 {
			p.sortRoots()
			parts = append(parts, p)
		}
	}
	slices.SortStableFunc(parts, compareParts)
	return parts, elsewhere
}

// newPartition returns a partition with the modules of t. If t does not record them, as
// in GOPATH and Bazel builds, it uses those of the host's workspaces.
func newPartition(t Target, h Host) *partition {
	pt := &partition{
		t: t, paths: map[string]*part{}, spellings: map[string]*part{}, roots: map[string]*part{},
		library: &part{finding: Finding{Kind: Library, Module: Module{Version: goRelease(t.GoVersion)}}},
	}
	add := func(k Kind, m Module) {
		if m.Path == "" || pt.paths[m.Path] != nil {
			return
		}
		p := &part{finding: Finding{Kind: k, Module: m}, spellings: m.spellings()}
		pt.parts = append(pt.parts, p)
		pt.paths[m.Path] = p
		for _, name := range p.spellings {
			pt.spellings[name] = p
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

// goRelease returns the version of Go without what may follow it, such as a list of
// experiments.
func goRelease(version string) string {
	first, _, _ := strings.Cut(version, " ")
	return first
}

// findByPackage returns the part that the package in d belongs to, and the root of the
// module that follows from its directory.
func (pt *partition) findByPackage(d Dir) (p *part, root string, ok bool) {
	pkg := d.Package
	if pkg == "main" {
		pkg = pt.t.MainPackage
	}
	if pkg == "" || pkg == "command-line-arguments" {
		return nil, "", false
	}
	for cut := len(pkg); cut > 0 && p == nil; cut = strings.LastIndexByte(pkg[:cut], '/') {
		p = pt.paths[pkg[:cut]]
	}
	below := "/" + pkg
	switch {
	case p != nil:
		below = pkg[len(p.finding.Module.Path):]
	case isStandardLibrary([]byte(pkg)):
		p = pt.library
	default:
		return nil, "", false
	}
	if root, ok = rootOf(d.Dir, below); !ok {
		root, ok = rootOf(d.Dir, strings.TrimSuffix(below, "_test"))
	}
	return p, root, ok
}

// rootOf returns dir without the suffix below, which is empty or starts with a slash. An
// empty relative root is ".".
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

// findByName returns the part of a directory whose package is not known, because all of
// its code was inlined, or does not fit its path. It goes by the names of vendored and
// cached modules, and then by the roots found above the directory.
func (pt *partition) findByName(dir string) (p *part, root string, ok bool) {
	if p, root := pt.findBySpelling(dir); p != nil {
		return p, root, true
	}
	for root := range ancestors(dir) {
		if p := pt.roots[root]; p != nil {
			return p, root, true
		}
	}
	p = pt.roots["."]
	if p == nil || isAbsolute([]byte(dir)) || p == pt.library && !isStandardLibrary([]byte(dir)) {
		return nil, "", false
	}
	return p, ".", true
}

// ancestors yields dir and its parents.
func ancestors(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for dir != "" {
			if !yield(dir) || dir == "/" {
				return
			}
			switch cut := strings.LastIndexByte(dir, '/'); cut {
			case 0:
				dir = "/"
			default:
				dir = dir[:max(cut, 0)]
			}
		}
	}
}

// findBySpelling returns the dependency whose name the directory's path contains. The
// standard library's own vendor directory is not one.
func (pt *partition) findBySpelling(dir string) (p *part, root string) {
	for root := range ancestors(dir) {
		if pt.roots[root] == pt.library && root != "." {
			return nil, ""
		}
	}
	slashed := "/" + dir + "/"
	for end := len(slashed) - 1; end > 0; end = strings.LastIndexByte(slashed[:end], '/') {
		for start := 0; start < end; start += 1 + max(strings.IndexByte(slashed[start+1:], '/'), 0) {
			name := slashed[start : end+1]
			if p = pt.spellings[name]; p != nil && (start > 0 || !strings.HasPrefix(name, "/vendor/")) {
				return p, dir[:end-1]
			}
		}
	}
	return nil, ""
}

// spellings returns the ends of a dependency's root, between slashes: in a module cache,
// after -trimpath, in a vendor directory.
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

// isInTree reports whether a path or import path is root or below it.
func isInTree(p, root string) bool {
	below, ok := strings.CutPrefix(p, root)
	return ok && root != "" && (below == "" || below[0] == '/' || strings.HasSuffix(root, "/"))
}

// compareParts orders parts for display: the main module, dependencies by path, the
// standard library.
func compareParts(a, b *part) int {
	return cmp.Or(cmp.Compare(a.finding.Kind, b.finding.Kind), cmp.Compare(a.finding.Module.Path, b.finding.Module.Path))
}
