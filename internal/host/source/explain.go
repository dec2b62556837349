package source

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/pathmap"
)

// Paths describes the path map between the host's source and the target's.
type Paths struct {
	Target api.Target   `json:"target"`
	Files  int          `json:"files"` // source files that the target was compiled from
	OnHost int          `json:"here"`  // those that the host has
	Own    []PathRule   `json:"own"`   // the user's rules, which come first
	Trees  []SourceTree `json:"trees"` // the main module first, the standard library last
	Rules  []PathRule   `json:"rules"` // all rules, in the order in which they were made
	// Unassigned are directories, and files without one, that belong to no known module.
	Unassigned []string `json:"elsewhere"`
	// Problem says why the main module's paths are not mapped, if so.
	Problem string `json:"problem,omitempty"`
}

// SourceTree is one part of the target's source.
type SourceTree struct {
	What     string          `json:"what"`
	Host     string          `json:"host,omitempty"` // empty if the host cannot have it
	Node     string          `json:"node"`
	Reason   string          `json:"reason,omitempty"`
	Files    int             `json:"files"`
	OnHost   int             `json:"here"`
	Fetch    string          `json:"fetch,omitempty"` // if the host lacks the tree: whether it is fetched, and why not
	Rejected []RejectedPlace `json:"lost,omitempty"`
}

// RejectedPlace is a place on the host that was considered and rejected.
type RejectedPlace struct {
	Host string `json:"host"`
	Why  string `json:"why"`
}

// PathRule is a rule of the map.
type PathRule struct {
	Host   string `json:"host"`
	Node   string `json:"node"`
	Way    string `json:"way"` // both, to-node or to-host
	Reason string `json:"reason"`
}

// newPathRules returns an empty list, not nil, if there are no rules: JSON shows [].
func newPathRules(rules []pathmap.Rule) []PathRule {
	list := []PathRule{}
	for _, r := range rules {
		list = append(list, PathRule{r.Host, r.Node, [...]string{"both", "to-node", "to-host"}[r.Scope], r.Reason})
	}
	return list
}

// FilePath explains one file in both directions.
type FilePath struct {
	Query string `json:"asked"`
	Line  int    `json:"line,omitempty"`

	Node     string     `json:"node,omitempty"` // as the target names it
	InTarget bool       `json:"inTarget"`       // the target was compiled from Node
	ToNode   []PathRule `json:"toNode"`         // rules for Host: the one that applies, then those that it overrides

	Host   string     `json:"host,omitempty"` // what the IDE opens
	OnHost bool       `json:"here"`           // Host exists
	ToHost []PathRule `json:"toHost"`         // rules for Node

	Tree     *SourceTree     `json:"tree,omitempty"` // what it belongs to
	Rejected []RejectedPlace `json:"lost,omitempty"` // other places on the host where the file is, or would be
	Similar  []string        `json:"like,omitempty"` // if not InTarget: the target's files with a similar name
}

// Explain finds the target and infers its path map. If file is not empty, Explain also
// explains that file. It is a path on the host, relative to dir unless it is absolute, or
// a path as the target names it; either may end with :LINE.
func Explain(ctx context.Context, lc link.Config, c Config, file, dir string) (Paths, *FilePath, error) {
	l, err := link.Dial(ctx, lc)
	if err != nil {
		return Paths{}, nil, err
	}
	p, f, err := c.explainTarget(ctx, l.Client, file, dir)
	return p, f, errors.Join(err, l.Close())
}

func (c Config) explainTarget(ctx context.Context, client *link.Client, file, dir string) (Paths, *FilePath, error) {
	t, err := client.Target(ctx)
	if err != nil {
		return Paths{}, nil, err
	}
	m, err := (&Mapper{Config: c}).MapTarget(ctx, client, t, c.ReadHost(ctx))
	if err != nil {
		return Paths{}, nil, err
	}
	p, f := m.report(t, file, dir)
	return p, f, nil
}

// ExplainExecutable is [Explain] for an executable on the host, which need not run.
func ExplainExecutable(ctx context.Context, c Config, executable, path, dir string) (Paths, *FilePath, error) {
	ctx, cancel := context.WithCancel(ctx)
	wait := c.ReadHost(ctx)
	defer wait()
	defer cancel()
	file, err := exe.Open(executable)
	if err != nil {
		return Paths{}, nil, err
	}
	defer file.Close()
	build, err := file.Build()
	if err != nil {
		return Paths{}, nil, err
	}
	sources, err := file.Sources()
	if err != nil {
		return Paths{}, nil, err
	}
	host, err := wait()
	if err != nil {
		return Paths{}, nil, err
	}
	t := api.Target{Process: api.Process{Exe: executable}, Build: *build}
	m, err := c.InferMap(t, *sources, host)
	if err != nil {
		return Paths{}, nil, err
	}
	p, f := m.report(t, path, dir)
	return p, f, nil
}

// report describes the map, and explains file unless it is empty.
func (m *Map) report(t api.Target, file, dir string) (Paths, *FilePath) {
	p := m.describe()
	p.Target = t
	if file == "" {
		return p, nil
	}
	f := m.explainFile(file, dir)
	return p, &f
}

func (m *Map) describe() Paths {
	p := Paths{Own: newPathRules(m.own.Rules()), Rules: newPathRules(m.Paths.Rules()), Problem: m.Problem(), Trees: []SourceTree{}, Unassigned: []string{}}
	p.Files, p.OnHost = m.Counts()
	for _, f := range m.inference.Findings {
		p.Trees = append(p.Trees, m.newSourceTree(f))
	}
	for _, d := range m.inference.Unassigned {
		if d.Dir == "" {
			p.Unassigned = append(p.Unassigned, d.Files...) // generated
			continue
		}
		p.Unassigned = append(p.Unassigned, d.Dir)
	}
	return p
}

func (m *Map) newSourceTree(f pathmap.Finding) SourceTree {
	t := SourceTree{What: f.String(), Host: f.Host, Node: f.Node, Reason: f.Reason, Files: f.Files, OnHost: f.OnHost}
	for _, l := range f.Rejected {
		t.Rejected = append(t.Rejected, RejectedPlace{l.Host, l.Why})
	}
	if f.Missing {
		t.Fetch = "fetched when a session starts"
		if err := m.Fetcher.Check(module.Version{Path: f.Fetch.Path, Version: f.Fetch.Version}); err != nil {
			t.Fetch = "not fetched: " + err.Error()
		}
	}
	return t
}

func (m *Map) explainFile(query, dir string) FilePath {
	f := FilePath{Query: query}
	file, line := cutLine(query)
	f.Line = line
	names := m.target.Names()
	if slices.Contains(names, file) {
		f.Node = file
		f.Host, _ = m.Paths.ToHost(file)
	} else {
		f.Host = file
		if !filepath.IsAbs(file) {
			f.Host = filepath.Join(dir, file)
		}
		f.Node, _ = m.Paths.ToNode(f.Host)
		f.InTarget = slices.Contains(names, f.Node)
		if back, ok := m.Paths.ToHost(f.Node); ok && f.InTarget {
			f.Host = back // the name that the IDE gets for it from the target
		}
	}
	f.InTarget = slices.Contains(names, f.Node)
	f.OnHost = gosource.Exists(f.Host)
	f.ToNode, f.ToHost = newPathRules(m.Paths.Covering(f.Host, pathmap.ToNode)), newPathRules(m.Paths.Covering(f.Node, pathmap.ToHost))
	if !f.InTarget {
		f.Similar = findSimilar(names, file)
	}
	if found, ok := m.inference.Find(f.Node); ok && f.InTarget {
		tree := m.newSourceTree(found)
		f.Tree = &tree
		for _, l := range found.Rejected {
			f.Rejected = append(f.Rejected, RejectedPlace{found.At(l.Host, f.Node), l.Why})
		}
	}
	return f
}

// cutLine splits a path from a :LINE at its end; line is 0 if there is none.
func cutLine(s string) (file string, line int) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return s, 0
	}
	line, err := strconv.Atoi(s[i+1:])
	if err != nil || line <= 0 {
		return s, 0
	}
	return s[:i], line
}

// maxSimilar bounds how many similar files are shown.
const maxSimilar = 5

// findSimilar returns those names that share the most path elements with the end of file,
// at least the base name.
func findSimilar(names []string, file string) []string {
	file = filepath.ToSlash(file)
	var found []string
	most := 1
	for _, name := range names {
		n := countCommonEnd(name, file)
		if n > most {
			most, found = n, nil
		}
		if n == most {
			found = append(found, name)
		}
	}
	return found[:min(len(found), maxSimilar)]
}

// countCommonEnd returns how many elements two paths have in common at their ends.
func countCommonEnd(a, b string) int {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	n := 0
	for n < len(x) && n < len(y) && x[len(x)-1-n] == y[len(y)-1-n] {
		n++
	}
	return n
}
