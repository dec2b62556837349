package pathmap

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inferVector is a test case in testdata/infer: what a binary says, what a host has, and
// the expected inference.
type inferVector struct {
	About  string
	Target struct {
		Go, Module, Version, Main string
		Modules                   []string            // as vendor/modules.txt has them: PATH VERSION => PATH VERSION
		Dirs                      map[string][]string // the package, and files
	}
	Host struct {
		ModCache, GoRoot, Go, Platform string
		IgnoreCase                     bool
		Workspaces                     []struct {
			Root, Module, VendorDir  string
			Vendor, Replace, Require []string
		}
		Tree  []string          // files
		Links map[string]string // symbolic links to directories
	}

	Map     map[string]string // from node file to host file, both ways; "" if only the node has it
	Also    map[string]string // from host file to node file, for other names of files in Map
	Reasons map[string]string // from node file to a part of the reason for its rule
	Missing []string          // the modules that would have to be fetched
	Lost    map[string]string // from host directory to a part of the reason why it was not chosen
	Problem string            // a part of the problem
}

func TestInferVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/infer/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			v := readInferVector(t, file)
			in := Infer(v.target(), v.host())
			if v.Host.IgnoreCase {
				in.Map = in.Map.IgnoreCase(v.target().Names())
			}
			v.check(t, in)
			if t.Failed() {
				for _, r := range in.Map.Rules() {
					t.Logf("%s (%s) %d", r, r.Reason, r.Scope)
				}
			}
		})
	}
}

func readInferVector(t testing.TB, file string) inferVector {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var v inferVector
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

func parseModules(lines []string) []Module {
	var list []Module
	for _, line := range lines {
		parse := func(s string) Module {
			path, version, _ := strings.Cut(s, " ")
			return Module{Path: path, Version: version}
		}
		old, by, replaced := strings.Cut(line, " => ")
		m := parse(old)
		if replaced {
			r := parse(by)
			m.Replace = &r
		}
		list = append(list, m)
	}
	return list
}

func (v inferVector) target() Target {
	t := Target{
		GoVersion: v.Target.Go, ModulePath: v.Target.Module, ModuleVersion: v.Target.Version,
		MainPackage: v.Target.Main, Modules: parseModules(v.Target.Modules),
	}
	for _, dir := range slices.Sorted(maps.Keys(v.Target.Dirs)) {
		names := v.Target.Dirs[dir]
		t.Dirs = append(t.Dirs, Dir{Dir: dir, Package: names[0], Files: names[1:]})
	}
	return t
}

func (v inferVector) host() Host {
	h := Host{ModCache: v.Host.ModCache, GoRoot: v.Host.GoRoot, GoVersion: v.Host.Go, Platform: v.Host.Platform,
		Tree: listedTree{v.Host.Tree, v.Host.Links}}
	for _, w := range v.Host.Workspaces {
		h.Workspaces = append(h.Workspaces, Workspace{
			Root: w.Root, ModulePath: w.Module, Replace: parseModules(w.Replace), Require: parseModules(w.Require),
			VendorDir: w.VendorDir, Vendor: parseModules(w.Vendor),
		})
	}
	return h
}

// listedTree is a host's file system, given by a list of files.
type listedTree struct {
	files []string
	links map[string]string
}

func (l listedTree) Has(path string) bool {
	path = l.Real(path)
	return slices.ContainsFunc(l.files, func(f string) bool {
		return f == path || strings.HasPrefix(f, path) && strings.ContainsAny(f[len(path):len(path)+1], `/\`)
	})
}

func (l listedTree) Real(path string) string {
	for link, to := range l.links {
		if isInTree(path, link) {
			return to + path[len(link):]
		}
	}
	return path
}

func (v inferVector) check(t *testing.T, in Inference) {
	tree := v.host().Tree
	for node, host := range v.Map {
		got, ok := in.Map.ToHost(node)
		if ok != (host != "") || ok && got != host {
			t.Errorf("the node's %s is %s (%v), want %s", node, got, ok, host)
		}
		if host == "" {
			continue
		}
		if back, ok := in.Map.ToNode(host); !ok || back != node {
			t.Errorf("the host's %s is %s (%v), want %s", host, back, ok, node)
		}
		if !tree.Has(host) && len(v.Missing) == 0 {
			t.Errorf("the host does not have %s", host)
		}
	}
	for host, node := range v.Also {
		if got, ok := in.Map.ToNode(host); !ok || got != node {
			t.Errorf("the host's %s is %s (%v), want %s", host, got, ok, node)
		}
	}
	for node, reason := range v.Reasons {
		rules := in.Map.Covering(node, ToHost)
		if len(rules) == 0 || !strings.Contains(rules[0].Reason, reason) {
			t.Errorf("the reason for %s is %+v, want %q", node, rules, reason)
		}
	}
	v.checkFindings(t, in)
}

func (v inferVector) checkFindings(t *testing.T, in Inference) {
	var missing []string
	lost := map[string]string{}
	files := 0
	for _, f := range in.Findings {
		if f.Missing {
			missing = append(missing, f.Fetch.String())
		}
		for _, l := range f.Rejected {
			lost[l.Host] = l.Why
		}
		files += f.Files
		if f.OnHost > f.Files {
			t.Errorf("%s: the host has %d of %d files", f, f.OnHost, f.Files)
		}
	}
	for _, d := range in.Unassigned {
		files += len(d.Files)
	}
	if names := v.target().Names(); files != len(names) {
		t.Errorf("%d of %d files are accounted for", files, len(names))
	}
	if !slices.Equal(missing, v.Missing) {
		t.Errorf("missing are %q, want %q", missing, v.Missing)
	}
	for host, why := range v.Lost {
		if !strings.Contains(lost[host], why) || lost[host] == "" {
			t.Errorf("%s lost because %q, want %q", host, lost[host], why)
		}
	}
	if (in.Problem == "") != (v.Problem == "") || !strings.Contains(in.Problem, v.Problem) {
		t.Errorf("the problem is %q, want %q", in.Problem, v.Problem)
	}
}
