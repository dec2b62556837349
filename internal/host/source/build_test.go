package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// otherGo is a version of Go that is not the one that tests run with.
const otherGo = "go1.27.0"

// TestMapsRealBinaries builds the ways people build, on a "build machine" whose
// directories the host does not have, and maps the source of what comes out:
// each file of the binary exists on the host, and leads back.
func TestMapsRealBinaries(t *testing.T) {
	testenv.SkipShort(t, "it runs go build")
	for name, b := range map[string]machine{
		"plain":             {},
		"optimised":         {flags: []string{"-gcflags="}},
		"stripped":          {flags: []string{"-ldflags=-s -w"}},
		"trimpath":          {flags: []string{"-trimpath"}},
		"PIE":               {flags: []string{"-buildmode=pie"}},
		"vendored":          {vendor: true},
		"vendored trimpath": {vendor: true, flags: []string{"-trimpath"}},
		"vendored on both":  {vendor: true, hostVendor: true},
		"vendored here":     {hostVendor: true},
		"go.work":           {work: true},
		"go.work trimpath":  {work: true, flags: []string{"-trimpath"}},
		"GOROOT":            {toolchain: otherGo},
		"GOROOT trimpath":   {toolchain: otherGo, flags: []string{"-trimpath"}},
		"own -trimpath":     {flags: []string{"-gcflags=-trimpath=SRC"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin, root := b.build(t)
			m := mapFile(t, bin, root)
			checkMapped(t, m, root)
		})
	}
}

// mapFile maps the source of a binary to a workspace.
func mapFile(t *testing.T, bin, root string) *Map {
	t.Helper()
	x, err := exe.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	build, err := x.Build()
	if err != nil {
		t.Fatal(err)
	}
	sources, err := x.Sources()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Root: root}
	found, err := c.ReadHost(t.Context())()
	if err != nil || found.Problem != nil {
		t.Fatal(err, found.Problem)
	}
	m, err := c.InferMap(api.Target{Build: *build}, *sources, found)
	if err != nil || m.Problem() != "" {
		t.Fatal(err, m.Problem())
	}
	return m
}

// lineOf returns the first line of a file that holds the code.
func lineOf(t *testing.T, file, code string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(data), code)
	if !found {
		t.Fatalf("no %q in %s", code, file)
	}
	return strings.Count(before, "\n") + 1
}

// TestExplainExecutable explains a program that nobody runs.
func TestExplainExecutable(t *testing.T) {
	testenv.SkipShort(t, "it runs go build")
	bin, root := machine{flags: []string{"-trimpath"}}.build(t)
	p, f, err := ExplainExecutable(t.Context(), Config{Root: root}, bin, "cmd/app/main.go:14", root)
	if err != nil || p.Problem != "" || p.OnHost != p.Files || p.Target.Exe != bin {
		t.Errorf("%d of %d files, %q, %v", p.OnHost, p.Files, p.Problem, err)
	}
	if f == nil || f.Node != "example.com/app/v2/cmd/app/main.go" || !f.InTarget || !f.OnHost || f.Line != 14 {
		t.Errorf("the file: %+v", f)
	}
	if _, _, err := ExplainExecutable(t.Context(), Config{Root: root}, filepath.Join(root, "go.mod"), "", root); diag.CodeOf(err) != diag.TargetNotGo {
		t.Errorf("go.mod: %v", err)
	}
}

// checkMapped sees that each file of the target is on the host, and that a
// breakpoint there finds its way back.
func checkMapped(t *testing.T, m *Map, root string) {
	t.Helper()
	inRoot, bad := 0, 0
	for _, name := range m.target.Names() {
		host, ok := m.Paths.ToHost(name)
		back, _ := m.Paths.ToNode(host)
		switch {
		case !ok && filepath.Base(name) == name: // generated, as _cgo_gotypes.go
		case !ok || !gosource.Exists(host) || back != name:
			if bad++; bad < 10 {
				t.Errorf("%s is %s (%v) on the host, and that %s on the node", name, host, ok, back)
			}
		case strings.HasPrefix(host, filepath.Dir(root)+"/"):
			inRoot++
		}
	}
	if inRoot < 3 {
		t.Errorf("%d files are in the workspace", inRoot)
	}
	if bad > 0 {
		for _, f := range m.inference.Findings {
			t.Logf("%s: %s=%s (%s) %d of %d", f, f.Host, f.Node, f.Reason, f.OnHost, f.Files)
		}
	}
}

// machine says how a binary is built, and what the host has.
type machine struct {
	flags              []string // SRC stands for the directory of the source
	vendor, hostVendor bool     // dependencies are vendored there, here
	work               bool
	toolchain          string
}

// build builds the program in one copy of the workspace, and returns it and the
// main module in another copy.
func (b machine) build(t *testing.T) (bin, root string) {
	t.Helper()
	there, here := tree(t), tree(t)
	env := []string{"GOFLAGS=-mod=mod -modcacherw", "GOWORK=off", "CGO_ENABLED=0", "GOMODCACHE=" + t.TempDir(), "GOPROXY=file://" + downloads(t), "GOSUMDB=off"}
	if b.work {
		for _, dir := range []string{there, here} {
			testenv.WriteFile(t, filepath.Join(dir, "go.work"), "go 1.26.0\n\nuse ./app\n\nuse ./lib\n")
		}
		env = append(env, "GOWORK=", "GOFLAGS=-modcacherw")
	}
	for dir, wanted := range map[string]bool{there: b.vendor, here: b.hostVendor} {
		if wanted {
			run(t, filepath.Join(dir, "app"), env, "mod", "vendor")
		}
	}
	if b.vendor {
		env = append(env, "GOFLAGS=-mod=vendor")
	}
	if b.toolchain != "" {
		env = append(env, "GOROOT="+otherGoroot(t, b.toolchain))
	}
	bin = filepath.Join(t.TempDir(), "app")
	args := []string{"build", "-o", bin}
	for _, f := range b.flags {
		args = append(args, strings.ReplaceAll(f, "SRC", there))
	}
	run(t, filepath.Join(there, "app"), env, append(args, "./cmd/app")...)
	return bin, filepath.Join(here, "app")
}

// tree copies the workspace into a directory of its own: a main module with a
// dependency at a version, a replaced one, and one that is a directory beside it.
func tree(t *testing.T) string {
	t.Helper()
	dir := gosource.RealPath(t.TempDir())
	if err := os.CopyFS(dir, os.DirFS("testdata/workspace")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// downloads is where the go command keeps what it has downloaded, in the form of
// a module proxy (go.dev/ref/mod, module cache).
func downloads(t *testing.T) string {
	t.Helper()
	return filepath.ToSlash(filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download"))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return run(t, "", nil, "env", name)
}

// otherGoroot returns another Go's GOROOT, which the go command downloads and
// makes executable.
func otherGoroot(t *testing.T, version string) string {
	t.Helper()
	testenv.SecondTier(t)
	return run(t, t.TempDir(), []string{"GOTOOLCHAIN=" + version, "GOFLAGS=", "GOWORK=off"}, "env", "GOROOT")
}

// run runs the go command, that of GOROOT if env has one, and returns what it
// says.
func run(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	program := "go"
	for _, e := range env {
		if goroot, ok := strings.CutPrefix(e, "GOROOT="); ok {
			program = filepath.Join(goroot, "bin", "go")
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), env...)
	var said strings.Builder // what it downloads, too
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}
