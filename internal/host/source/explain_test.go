package source

import (
	"errors"
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

// newTestMap returns the map of a workspace with a vendored dependency, a second copy of
// it, a missing dependency, and one rule of the user's.
func newTestMap(t *testing.T) (m *Map, root, cache string) {
	t.Helper()
	root, cache = gosource.RealPath(t.TempDir()), gosource.RealPath(t.TempDir())
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "module example.com/d\n")
	testenv.WriteFile(t, filepath.Join(root, "main.go"), "package main\n")
	testenv.WriteFile(t, filepath.Join(root, "vendor", "modules.txt"), "# example.com/a v1.0.0\n# example.com/b v1.0.0\n")
	testenv.WriteFile(t, filepath.Join(root, "vendor", "example.com", "a", "a.go"), "package a\n")
	testenv.WriteFile(t, filepath.Join(cache, "example.com", "a@v1.0.0", "a.go"), "package a\n")
	testenv.WriteFile(t, filepath.Join(root, "vendor", "example.com", "b", "b.go"), "package b\n")
	host, err := gosource.Read(t.Context(), root)
	if err = errors.Join(err, host.Problem); err != nil {
		t.Fatal(err)
	}
	host.Env.GOMODCACHE = cache
	c := Config{Rules: []pathmap.Rule{{Host: "/own", Node: "/build/own", Reason: "--map"}}}
	m, err = c.InferMap(api.Target{Build: exe.Build{ModulePath: "example.com/d", MainPackage: "example.com/d"}}, exe.Sources{
		Modules: []exe.Module{{Path: "example.com/a", Version: "v1.0.0"}, {Path: "example.com/b", Version: "v1.2.0"}},
		Dirs: []exe.SourceDir{
			{Dir: "", Files: []string{"_cgo_gotypes.go"}},
			{Dir: "/build", Package: "main", Files: []string{"main.go"}},
			{Dir: "/build/vendor/example.com/a", Package: "example.com/a", Files: []string{"a.go"}},
			{Dir: "/build/vendor/example.com/b", Package: "example.com/b", Files: []string{"b.go"}},
		},
	}, host)
	if err != nil {
		t.Fatal(err)
	}
	return m, root, cache
}

func TestDescribe(t *testing.T) {
	m, root, cache := newTestMap(t)
	p := m.describe()
	if p.Files != 4 || p.OnHost != 2 {
		t.Errorf("got %d files, %d of them on the host, want 4 and 2", p.Files, p.OnHost)
	}
	if len(p.Own) != 1 {
		t.Errorf("got the user's rules %+v, want one", p.Own)
	}
	if want := []string{"_cgo_gotypes.go"}; !slices.Equal(p.Unassigned, want) {
		t.Errorf("got unassigned %q, want %q", p.Unassigned, want)
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
		t.Errorf("got the trees\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	rejected := []RejectedPlace{{Host: filepath.Join(root, "vendor/example.com/b"), Why: "vendored as example.com/b v1.0.0"}}
	if got := p.Trees[2].Rejected; !slices.Equal(got, rejected) {
		t.Errorf("got rejected places %+v, want %+v", got, rejected)
	}
}

// checkFile checks where a file was found, and whether it exists there.
func checkFile(t *testing.T, got, want FilePath) {
	t.Helper()
	if got.Host != want.Host || got.OnHost != want.OnHost {
		t.Errorf("got host file %q (exists: %v), want %q (%v)", got.Host, got.OnHost, want.Host, want.OnHost)
	}
	if got.Node != want.Node || got.InTarget != want.InTarget {
		t.Errorf("got node file %q (in target: %v), want %q (%v)", got.Node, got.InTarget, want.Node, want.InTarget)
	}
	if got.Line != want.Line {
		t.Errorf("got line %d, want %d", got.Line, want.Line)
	}
	if !slices.Equal(got.Similar, want.Similar) {
		t.Errorf("got similar files %q, want %q", got.Similar, want.Similar)
	}
}

// TestExplainFile explains a file by each of its names, and files that the target does
// not have.
func TestExplainFile(t *testing.T) {
	m, root, cache := newTestMap(t)
	const node = "/build/vendor/example.com/a/a.go"
	vendored, cached := filepath.Join(root, "vendor/example.com/a/a.go"), filepath.Join(cache, "example.com/a@v1.0.0/a.go")
	for _, query := range []string{node + ":7", vendored + ":7", "vendor/example.com/a/a.go:7", cached + ":7"} {
		t.Run(query, func(t *testing.T) {
			f := m.explainFile(query, root)
			checkFile(t, f, FilePath{Node: node, InTarget: true, Host: vendored, OnHost: true, Line: 7})
			if len(f.ToHost) != 2 || !strings.Contains(f.ToHost[0].Reason, "vendored, as it was built") || f.ToHost[1].Node != "/build" {
				t.Errorf("got the rules %+v, want that of the vendored module and that of /build", f.ToHost)
			}
			if len(f.Rejected) != 1 || f.Rejected[0].Host != cached {
				t.Errorf("got rejected places %+v, want %s", f.Rejected, cached)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		missing := filepath.Join(root, "main/a.go")
		f := m.explainFile("main/a.go", root)
		checkFile(t, f, FilePath{Node: f.Node, Host: missing, Similar: []string{node}})
	})
	t.Run("outside the workspace", func(t *testing.T) {
		const outside = "/elsewhere/example.com/a/a.go"
		f := m.explainFile(outside, root)
		checkFile(t, f, FilePath{Node: outside, Host: outside, Similar: []string{node}})
		if len(f.ToNode) != 0 {
			t.Errorf("got the rules %+v, want none", f.ToNode)
		}
	})
}

func TestCutLine(t *testing.T) {
	for s, want := range map[string]struct {
		file string
		line int
	}{"a.go": {"a.go", 0}, "a.go:12": {"a.go", 12}, `C:\a.go:3`: {`C:\a.go`, 3}, "C:": {"C:", 0}, "a.go:-1": {"a.go:-1", 0}, ":1": {":1", 0}} {
		if file, line := cutLine(s); file != want.file || line != want.line {
			t.Errorf("cutLine(%q): got %q, %d, want %q, %d", s, file, line, want.file, want.line)
		}
	}
}
