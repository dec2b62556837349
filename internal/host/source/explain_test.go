package source

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/testenv"
	"github.com/dapbridge/dapbridge/pathmap"
)

// explained is a workspace with a vendored dependency, a second copy of that, a
// dependency that is missing, and one rule of the user's.
func explained(t *testing.T) (m *Map, root, cache string) {
	t.Helper()
	root, cache = gosource.RealPath(t.TempDir()), gosource.RealPath(t.TempDir())
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "module example.com/d\n")
	testenv.WriteFile(t, filepath.Join(root, "main.go"), "package main\n")
	testenv.WriteFile(t, filepath.Join(root, "vendor", "modules.txt"), "# example.com/a v1.0.0\n# example.com/b v1.0.0\n")
	testenv.WriteFile(t, filepath.Join(root, "vendor", "example.com", "a", "a.go"), "package a\n")
	testenv.WriteFile(t, filepath.Join(cache, "example.com", "a@v1.0.0", "a.go"), "package a\n")
	testenv.WriteFile(t, filepath.Join(root, "vendor", "example.com", "b", "b.go"), "package b\n")
	found, err := gosource.Read(t.Context(), root)
	if err != nil || found.Problem != nil {
		t.Fatal(err, found.Problem)
	}
	found.Env.GOMODCACHE = cache
	c := Config{Rules: []pathmap.Rule{{Host: "/own", Node: "/build/own", Reason: "--map"}}}
	m, err = c.InferMap(api.Target{Build: exe.Build{ModulePath: "example.com/d", MainPackage: "example.com/d"}}, exe.Sources{
		Modules: []exe.Module{{Path: "example.com/a", Version: "v1.0.0"}, {Path: "example.com/b", Version: "v1.2.0"}},
		Dirs: []exe.SourceDir{
			{Dir: "", Files: []string{"_cgo_gotypes.go"}},
			{Dir: "/build", Package: "main", Files: []string{"main.go"}},
			{Dir: "/build/vendor/example.com/a", Package: "example.com/a", Files: []string{"a.go"}},
			{Dir: "/build/vendor/example.com/b", Package: "example.com/b", Files: []string{"b.go"}},
		},
	}, found)
	if err != nil {
		t.Fatal(err)
	}
	return m, root, cache
}

func TestDescribe(t *testing.T) {
	m, root, cache := explained(t)
	p := m.describe()
	if p.Files != 4 || p.OnHost != 2 || len(p.Own) != 1 || !slices.Equal(p.Elsewhere, []string{"_cgo_gotypes.go"}) {
		t.Errorf("%+v", p)
	}
	var got []string
	for _, tree := range p.Trees {
		got = append(got, strings.Join([]string{tree.What, tree.Host, tree.Node, tree.Fetch}, "|"))
	}
	want := []string{
		"main module example.com/d|" + root + "|/build|",
		"module example.com/a v1.0.0|" + filepath.Join(root, "vendor/example.com/a") + "|/build/vendor/example.com/a|",
		"module example.com/b v1.2.0|" + filepath.Join(cache, "example.com/b@v1.2.0") + "|/build/vendor/example.com/b|not fetched: it is not in the workspace's go.sum",
	}
	if !slices.Equal(got, want) {
		t.Errorf("trees\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if lost := p.Trees[2].Lost; len(lost) != 1 || lost[0].Why != "vendored as example.com/b v1.0.0" {
		t.Errorf("lost: %+v", lost)
	}
}

// TestExplain explains a file by each of its names.
func TestExplain(t *testing.T) {
	m, root, cache := explained(t)
	vendored, copied := filepath.Join(root, "vendor/example.com/a/a.go"), filepath.Join(cache, "example.com/a@v1.0.0/a.go")
	for asked, host := range map[string]string{
		"/build/vendor/example.com/a/a.go:7": vendored,
		vendored + ":7":                      vendored,
		"vendor/example.com/a/a.go:7":        vendored,
		copied + ":7":                        vendored,
	} {
		f := m.explainFile(asked, root)
		if f.Node != "/build/vendor/example.com/a/a.go" || !f.InTarget || f.Host != host || !f.OnHost || f.Line != 7 {
			t.Errorf("%s: %+v", asked, f)
		}
		if len(f.ToHost) != 2 || !strings.Contains(f.ToHost[0].Reason, "vendored, as it was built") || f.ToHost[1].Node != "/build" {
			t.Errorf("%s: the rules %+v", asked, f.ToHost)
		}
		if len(f.Lost) != 1 || f.Lost[0].Host != copied {
			t.Errorf("%s: lost %+v", asked, f.Lost)
		}
	}
	f := m.explainFile("main/a.go", root)
	if f.InTarget || f.OnHost || f.Host != filepath.Join(root, "main/a.go") || !slices.Equal(f.Similar, []string{"/build/vendor/example.com/a/a.go"}) {
		t.Errorf("a file that is not there: %+v", f)
	}
	f = m.explainFile("/elsewhere/example.com/a/a.go", root)
	if f.InTarget || f.Node != "/elsewhere/example.com/a/a.go" || len(f.ToNode) != 0 || !slices.Equal(f.Similar, []string{"/build/vendor/example.com/a/a.go"}) {
		t.Errorf("a file elsewhere: %+v", f)
	}
}

func TestCutLine(t *testing.T) {
	for s, want := range map[string]struct {
		file string
		line int
	}{"a.go": {"a.go", 0}, "a.go:12": {"a.go", 12}, `C:\a.go:3`: {`C:\a.go`, 3}, "C:": {"C:", 0}, "a.go:-1": {"a.go:-1", 0}, ":1": {":1", 0}} {
		if file, line := cutLine(s); file != want.file || line != want.line {
			t.Errorf("%s: %s, %d", s, file, line)
		}
	}
}
