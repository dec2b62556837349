package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/testenv"
	"github.com/dapbridge/dapbridge/pathmap"
)

// TestInferMap infers from the binary and the workspace. The user's rules take precedence.
func TestInferMap(t *testing.T) {
	root := gosource.RealPath(t.TempDir())
	below := filepath.Join(root, "cmd", "d")
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "module example.com/d\n")
	testenv.WriteFile(t, filepath.Join(below, "main.go"), "package main\n")
	d := api.Target{Build: exe.Build{ModulePath: "example.com/d", MainPackage: "example.com/d/cmd/d"}}
	sources := exe.Sources{Dirs: []exe.SourceDir{{Dir: "/build/d/cmd/d", Package: "main", Files: []string{"main.go", "gone.go"}}}}
	for name, tt := range map[string]struct {
		config  Config
		module  string
		want    string // what main.go is on the node; "" if it is not mapped
		problem string
	}{
		"inferred":       {Config{Root: root}, "example.com/d", "/build/d/cmd/d/main.go", ""},
		"from below":     {Config{Root: below}, "example.com/d", "/build/d/cmd/d/main.go", ""},
		"another module": {Config{Root: root}, "example.com/e", "", "the host has example.com/d in " + root},
		"no module":      {Config{Root: t.TempDir()}, "example.com/d", "", "no go.mod was found"},
		"by hand":        {Config{Root: root, Rules: []pathmap.Rule{{Host: below, Node: "/by/hand"}}}, "example.com/d", "/by/hand/main.go", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d.Build.ModulePath = tt.module
			host, err := tt.config.ReadHost(t.Context())()
			if err != nil {
				t.Fatal(err)
			}
			m, err := tt.config.InferMap(d, sources, host)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := m.Paths.ToNode(filepath.Join(below, "main.go"))
			if ok != (tt.want != "") || ok && got != tt.want {
				t.Errorf("got %q (mapped: %v) for main.go, want %q", got, ok, tt.want)
			}
			if p := m.Problem(); (p == "") != (tt.problem == "") || !strings.Contains(p, tt.problem) {
				t.Errorf("got the problem %q, want %q", p, tt.problem)
			}
			files, onHost := m.Counts()
			if files != 2 {
				t.Errorf("got %d files, want 2", files)
			}
			if name == "inferred" && onHost != 1 {
				t.Errorf("got %d files on the host, want 1", onHost)
			}
		})
	}
	t.Run("symbolic link", func(t *testing.T) { checkLinkedPath(t, d, sources, root) })
	t.Run("contradictory rules", func(t *testing.T) {
		bad := Config{Root: root, Rules: []pathmap.Rule{{Host: "/a", Node: "/b"}, {Host: "/a", Node: "/c"}}}
		if _, err := bad.InferMap(d, sources, gosource.Source{}); err == nil {
			t.Error("got no error")
		}
	})
}

// checkLinkedPath maps a path through a symbolic link to root that no rule names.
func checkLinkedPath(t *testing.T, d api.Target, sources exe.Sources, root string) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		testenv.Skipf(t, "cannot make symbolic links: %v", err)
	}
	d.Build.ModulePath = "example.com/d"
	host, err := Config{Root: root}.ReadHost(t.Context())()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Config{Root: root}.InferMap(d, sources, host)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := m.Paths.ToNode(filepath.Join(link, "cmd", "d", "main.go")); !ok || got != "/build/d/cmd/d/main.go" {
		t.Errorf("got %s (mapped: %v)", got, ok)
	}
}

// TestNodeDir checks that there is no directory for a binary that was built with
// -trimpath.
func TestNodeDir(t *testing.T) {
	const root = "/home/you/src/containerd"
	for node, want := range map[string]string{"/go/src/containerd": "/go/src/containerd", "github.com/containerd/containerd": ""} {
		paths, err := pathmap.New(pathmap.Rule{Host: root, Node: node})
		if err != nil {
			t.Fatal(err)
		}
		if got := (&Map{Paths: paths}).NodeDir(root); got != want {
			t.Errorf("built in %s: got %q, want %q", node, got, want)
		}
	}
}
