package source

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/debugger"

	"github.com/dapbridge/dapbridge/internal/host/gosource"
)

// TestBreakpointsInRealBinaries has Delve stop real binaries at lines of the
// host's files, in the main module, in a dependency of each kind and in the
// standard library: each is hit, and the stack there is of files that the host
// has.
func TestBreakpointsInRealBinaries(t *testing.T) {
	testenv.SkipShort(t, "it runs go build")
	for name, b := range map[string]machine{
		"plain":             {},
		"trimpath":          {flags: []string{"-trimpath"}},
		"vendored":          {vendor: true},
		"vendored trimpath": {vendor: true, flags: []string{"-trimpath"}},
		"vendored on both":  {vendor: true, hostVendor: true},
		"go.work":           {work: true},
		"go.work trimpath":  {work: true, flags: []string{"-trimpath"}},
		"GOROOT":            {toolchain: otherGo},
		"own -trimpath":     {flags: []string{"-gcflags=-trimpath=SRC"}},
	} {
		t.Run(name, func(t *testing.T) {
			bin, root := b.build(t)
			m := mapFile(t, bin, root)
			spots := b.spots(t, root)
			d, err := debugger.New(&debugger.Config{Backend: "native", WorkingDir: t.TempDir()}, []string{bin})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Detach(true)
			for host, line := range spots {
				node, ok := m.Paths.ToNode(host)
				if bp, err := d.CreateBreakpoint(&api.Breakpoint{File: node, Line: line}, "", nil, false); err != nil || !ok || bp.File != node {
					t.Errorf("a breakpoint at %s:%d, which is %s there: %+v, %v", host, line, node, bp, err)
				}
			}
			hit := runThrough(t, d, m, len(spots))
			for host, line := range spots {
				if !slices.Contains(hit[host], line) {
					t.Errorf("%s:%d was not hit; hit were %v", host, line, hit)
				}
			}
		})
	}
}

// spots are lines of the host's files that the program comes by.
func (b machine) spots(t *testing.T, root string) map[string]int {
	t.Helper()
	goroot, modules := goEnv(t, "GOROOT"), goEnv(t, "GOMODCACHE")
	if b.toolchain != "" {
		goroot = otherGoroot(t, b.toolchain)
	}
	mod := filepath.Join(modules, "golang.org", "x", "mod@v0.43.0")
	group := filepath.Join(modules, "golang.org", "x", "sync@v0.24.0")
	lib := filepath.Join(filepath.Dir(root), "lib")
	if b.hostVendor {
		mod, group = filepath.Join(root, "vendor", "golang.org", "x", "mod"), filepath.Join(root, "vendor", "golang.org", "x", "sync")
	}
	spots := map[string]int{}
	for file, code := range map[string]string{
		filepath.Join(root, "cmd/app/main.go"):             "var g errgroup.Group",
		filepath.Join(root, "internal/greet/greet.go"):     "return \"hello\"",
		filepath.Join(lib, "deep/deep.go"):                 "return \"deep\"",
		filepath.Join(mod, "semver/semver.go"):             "func parse(",
		filepath.Join(group, "errgroup/errgroup.go"):       "func (g *Group) Wait(",
		filepath.Join(goroot, "src", "net/http/server.go"): "func (s *Server) ListenAndServe(",
	} {
		spots[file] = lineOf(t, file, code)
	}
	return spots
}

// runThrough lets the program run to its end, and returns where it stopped by the
// host's paths. Files of the stack that the host lacks are errors.
func runThrough(t *testing.T, d *debugger.Debugger, m *Map, most int) map[string][]int {
	t.Helper()
	hit := map[string][]int{}
	for range 4 * most {
		state, err := d.Command(&api.DebuggerCommand{Name: api.Continue}, nil, nil, nil)
		if err != nil || state.Exited {
			break
		}
		for _, th := range state.Threads {
			if th.Breakpoint == nil {
				continue
			}
			host, _ := m.Paths.ToHost(th.File)
			hit[host] = append(hit[host], th.Line)
			checkFrames(t, d, m, th.GoroutineID)
		}
	}
	return hit
}

func checkFrames(t *testing.T, d *debugger.Debugger, m *Map, goroutine int64) {
	t.Helper()
	raw, err := d.Stacktrace(goroutine, 50, 0)
	if err != nil {
		t.Fatal(err)
	}
	frames, err := d.ConvertStacktrace(raw, nil)
	if err != nil || len(frames) < 2 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	for _, f := range frames {
		if host, ok := m.Paths.ToHost(f.File); f.File != "" && (!ok || !gosource.Exists(host)) {
			t.Errorf("a frame's file %s is %s (%v) on the host", f.File, host, ok)
		}
	}
}
