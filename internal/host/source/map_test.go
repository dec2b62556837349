package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/testenv"
	"github.com/dapbridge/dapbridge/pathmap"
)

// TestMapSource maps by what the binary says and the workspace holds; the user's
// rules come before that.
func TestMapSource(t *testing.T) {
	root := gosource.RealPath(t.TempDir())
	below := filepath.Join(root, "cmd", "d")
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "module example.com/d\n")
	testenv.WriteFile(t, filepath.Join(below, "main.go"), "package main\n")
	d := api.Target{Build: exe.Build{ModulePath: "example.com/d", MainPackage: "example.com/d/cmd/d"}}
	sources := exe.Sources{Dirs: []exe.SourceDir{{Dir: "/build/d/cmd/d", Package: "main", Files: []string{"main.go", "gone.go"}}}}
	for name, tt := range map[string]struct {
		config  Config
		module  string
		want    string // of main.go; "" if there is no map
		problem string
	}{
		"inferred":       {Config{Root: root}, "example.com/d", "/build/d/cmd/d/main.go", ""},
		"from below":     {Config{Root: below}, "example.com/d", "/build/d/cmd/d/main.go", ""},
		"another module": {Config{Root: root}, "example.com/e", "", "the host has example.com/d in " + root},
		"no module":      {Config{Root: t.TempDir()}, "example.com/d", "", "no go.mod was found"},
		"by hand":        {Config{Root: root, Maps: []pathmap.Rule{{Host: below, Node: "/by/hand"}}}, "example.com/d", "/by/hand/main.go", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d.Build.ModulePath = tt.module
			found, err := tt.config.lookAround(t.Context())()
			if err != nil {
				t.Fatal(err)
			}
			m, err := tt.config.mapSource(d, sources, found)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := m.paths.ToNode(filepath.Join(below, "main.go"))
			if ok != (tt.want != "") || ok && got != tt.want {
				t.Errorf("main.go is %q (%v), want %q", got, ok, tt.want)
			}
			if p := m.problem(); (p == "") != (tt.problem == "") || !strings.Contains(p, tt.problem) {
				t.Errorf("the problem is %q, want %q", p, tt.problem)
			}
			if files, here := m.counts(); files != 2 || name == "inferred" && here != 1 {
				t.Errorf("%d of %d files", here, files)
			}
		})
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		testenv.Skipf(t, "no symbolic links here: %v", err)
	}
	d.Build.ModulePath = "example.com/d"
	found, err := Config{Root: root}.lookAround(t.Context())()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Config{Root: root}.mapSource(d, sources, found)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := m.paths.ToNode(filepath.Join(link, "cmd", "d", "main.go")); !ok || got != "/build/d/cmd/d/main.go" {
		t.Errorf("by a symbolic link that nobody named: %s, %v", got, ok)
	}
	bad := Config{Root: root, Maps: []pathmap.Rule{{Host: "/a", Node: "/b"}, {Host: "/a", Node: "/c"}}}
	if _, err := bad.mapSource(d, sources, gosource.Source{}); err == nil {
		t.Error("rules that contradict each other are accepted")
	}
}

// TestFetches tries each module once, and says how it went.
func TestFetches(t *testing.T) {
	f := newFetches()
	by := gosource.NewFetcher(gosource.Source{}) // which has no go command to fetch with
	a := missing{module.Version{Path: "example.com/a", Version: "v1.0.0"}, "/cache/a"}
	b := missing{module.Version{Path: "example.com/b", Version: "v1.0.0"}, "/cache/b"}
	lines := make(chan string, 8)
	f.begin(by, []missing{a}, func(line string) { lines <- line })
	f.begin(by, []missing{a, b}, func(line string) { lines <- line })
	for range 2 {
		select {
		case line := <-lines:
			if !strings.Contains(line, "could not be fetched and comes from the node: no go command on the PATH") {
				t.Error(line)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no line")
		}
	}
	f.wait(t.Context(), filepath.Join("/cache/a", "x.go")) // which is over
	f.end()
	f.begin(by, []missing{{module.Version{Path: "example.com/c"}, "/cache/c"}}, func(line string) { lines <- line })
	if len(lines) != 0 {
		t.Errorf("said too: %s", <-lines)
	}
	if got := fetchedLine(gosource.FetchResult{Module: a.module, Took: 1234 * time.Millisecond}); got != "fetched the source of example.com/a@v1.0.0 in 1.2s" {
		t.Error(got)
	}
	if got := fetchedLine(gosource.FetchResult{Module: a.module, Err: errors.New("offline")}); !strings.HasSuffix(got, ": offline") {
		t.Error(got)
	}
}

// TestFetchIsWaitedFor has a file asked for that is being fetched, and others.
func TestFetchIsWaitedFor(t *testing.T) {
	f := newFetches()
	defer f.end()
	under := &download{dir: filepath.Join("/cache", "a"), done: make(chan struct{})}
	f.tried[module.Version{Path: "example.com/a"}] = under
	f.wait(t.Context(), filepath.Join("/cache", "ab", "x.go")) // of another module
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		f.wait(t.Context(), filepath.Join("/cache", "a", "x.go"))
	}()
	select {
	case <-waited:
		t.Error("did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(under.done)
	<-waited
	under.done = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.wait(ctx, filepath.Join("/cache", "a", "x.go"))
}

// TestSessionTells keeps for its user what is said before anybody listens.
func TestSessionTells(t *testing.T) {
	var s session
	var heard []string
	s.say("one")
	s.Tell(func(line string) { heard = append(heard, line) })
	s.say("two\x1b")
	if !slices.Equal(heard, []string{"one", `two\x1b`}) {
		t.Errorf("heard %q", heard)
	}
}
