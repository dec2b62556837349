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

// TestBreakpointsInRealBinaries sets breakpoints at lines of the host's files with Delve:
// in the main module, in a dependency of each kind, and in the standard library. Each must
// be hit, and the host must have all files of the stack there.
func TestBreakpointsInRealBinaries(t *testing.T) {
	testenv.SkipShort(t, "it runs go build")
	for name, b := range map[string]buildCase{
		"plain":             {},
		"trimpath":          {flags: []string{"-trimpath"}},
		"vendored":          {nodeVendor: true},
		"vendored trimpath": {nodeVendor: true, flags: []string{"-trimpath"}},
		"vendored on both":  {nodeVendor: true, hostVendor: true},
		"go.work":           {work: true},
		"go.work trimpath":  {work: true, flags: []string{"-trimpath"}},
		"GOROOT":            {toolchain: otherGo},
		"own -trimpath":     {flags: []string{"-gcflags=-trimpath=SRC"}},
	} {
		t.Run(name, func(t *testing.T) {
			bin, root := b.build(t)
			m := mapBinary(t, bin, root)
			lines := b.findLines(t, root)
			d, err := debugger.New(&debugger.Config{Backend: "native", WorkingDir: t.TempDir()}, []string{bin})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Detach(true)
			for host, line := range lines {
				node, ok := m.Paths.ToNode(host)
				if !ok {
					t.Errorf("%s is not mapped", host)
				}
				bp, err := d.CreateBreakpoint(&api.Breakpoint{File: node, Line: line}, "", nil, false)
				if err != nil {
					t.Errorf("set a breakpoint at %s:%d: %v", node, line, err)
				} else if bp.File != node {
					t.Errorf("set a breakpoint in %s, got one in %s", node, bp.File)
				}
			}
			hit := runThrough(t, d, m, len(lines))
			for host, line := range lines {
				if !slices.Contains(hit[host], line) {
					t.Errorf("did not hit %s:%d, only %v", host, line, hit)
				}
			}
		})
	}
}

// findLines returns lines of the host's files that the program executes, by file.
func (b buildCase) findLines(t *testing.T, root string) map[string]int {
	t.Helper()
	goroot, modules := goEnv(t, "GOROOT"), goEnv(t, "GOMODCACHE")
	if b.toolchain != "" {
		goroot = findGoroot(t, b.toolchain)
	}
	mod := filepath.Join(modules, "golang.org", "x", "mod@v0.43.0")
	group := filepath.Join(modules, "golang.org", "x", "sync@v0.24.0")
	lib := filepath.Join(filepath.Dir(root), "lib")
	if b.hostVendor {
		mod, group = filepath.Join(root, "vendor", "golang.org", "x", "mod"), filepath.Join(root, "vendor", "golang.org", "x", "sync")
	}
	lines := map[string]int{}
	for file, code := range map[string]string{
		filepath.Join(root, "cmd/app/main.go"):             "var g errgroup.Group",
		filepath.Join(root, "internal/greet/greet.go"):     "return \"hello\"",
		filepath.Join(lib, "deep/deep.go"):                 "return \"deep\"",
		filepath.Join(mod, "semver/semver.go"):             "func parse(",
		filepath.Join(group, "errgroup/errgroup.go"):       "func (g *Group) Wait(",
		filepath.Join(goroot, "src", "net/http/server.go"): "func (s *Server) ListenAndServe(",
	} {
		lines[file] = lineOf(t, file, code)
	}
	return lines
}

// runThrough lets the program run to its end, and returns the lines where it stopped, by
// the host's file. It checks each stack.
func runThrough(t *testing.T, d *debugger.Debugger, m *Map, maxStops int) map[string][]int {
	t.Helper()
	hit := map[string][]int{}
	for range 4 * maxStops {
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

// checkFrames checks that the host has all files of a goroutine's stack.
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
			t.Errorf("the host does not have %s as %s (mapped: %v)", f.File, host, ok)
		}
	}
}
