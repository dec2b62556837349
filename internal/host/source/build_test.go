package source

import (
	"errors"
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

// otherGo is a version of Go other than the one that runs the tests.
const otherGo = "go1.27.0"

// TestMapsRealBinaries builds binaries in many ways, in directories that the host's
// workspace does not share, and maps their source. Each file of the binary must exist on
// the host, and map back.
func TestMapsRealBinaries(t *testing.T) {
	testenv.SkipShort(t, "it runs go build")
	for name, b := range map[string]buildCase{
		"plain":             {},
		"optimised":         {flags: []string{"-gcflags="}},
		"stripped":          {flags: []string{"-ldflags=-s -w"}},
		"trimpath":          {flags: []string{"-trimpath"}},
		"PIE":               {flags: []string{"-buildmode=pie"}},
		"vendored":          {nodeVendor: true},
		"vendored trimpath": {nodeVendor: true, flags: []string{"-trimpath"}},
		"vendored on both":  {nodeVendor: true, hostVendor: true},
		"vendored on host":  {hostVendor: true},
		"go.work":           {work: true},
		"go.work trimpath":  {work: true, flags: []string{"-trimpath"}},
		"GOROOT":            {toolchain: otherGo},
		"GOROOT trimpath":   {toolchain: otherGo, flags: []string{"-trimpath"}},
		"own -trimpath":     {flags: []string{"-gcflags=-trimpath=SRC"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin, root := b.build(t)
			m := mapBinary(t, bin, root)
			checkMapped(t, m, root)
		})
	}
}

// mapBinary returns the map of a binary to a workspace.
func mapBinary(t *testing.T, bin, root string) *Map {
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
	host, err := c.ReadHost(t.Context())()
	if err = errors.Join(err, host.Problem); err != nil {
		t.Fatal(err)
	}
	m, err := c.InferMap(api.Target{Build: *build}, *sources, host)
	if err != nil {
		t.Fatal(err)
	}
	if p := m.Problem(); p != "" {
		t.Fatal(p)
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

// TestExplainExecutable explains the paths of a program that does not run.
func TestExplainExecutable(t *testing.T) {
	testenv.SkipShort(t, "it runs go build")
	bin, root := buildCase{flags: []string{"-trimpath"}}.build(t)
	p, f, err := ExplainExecutable(t.Context(), Config{Root: root}, bin, "cmd/app/main.go:14", root)
	if err != nil {
		t.Fatal(err)
	}
	if p.Problem != "" {
		t.Errorf("got the problem %q", p.Problem)
	}
	if p.OnHost != p.Files {
		t.Errorf("got %d of %d files on the host, want all", p.OnHost, p.Files)
	}
	if p.Target.Exe != bin {
		t.Errorf("got the executable %q, want %q", p.Target.Exe, bin)
	}
	if f == nil {
		t.Fatal("got no file")
	}
	checkFile(t, *f, FilePath{
		Node: "example.com/app/v2/cmd/app/main.go", InTarget: true, Host: filepath.Join(root, "cmd/app/main.go"), OnHost: true, Line: 14,
	})
	notGo := filepath.Join(root, "go.mod")
	if _, _, err := ExplainExecutable(t.Context(), Config{Root: root}, notGo, "", root); diag.CodeOf(err) != diag.TargetNotGo {
		t.Errorf("%s: got %v, want %s", notGo, err, diag.TargetNotGo)
	}
}

// checkMapped checks that each file of the target is on the host, and maps back to its
// name in the target.
func checkMapped(t *testing.T, m *Map, root string) {
	t.Helper()
	inWorkspace, bad := 0, 0
	for _, name := range m.target.Names() {
		host, ok := m.Paths.ToHost(name)
		back, _ := m.Paths.ToNode(host)
		switch {
		case !ok && filepath.Base(name) == name: // generated, such as _cgo_gotypes.go
		case !ok || !gosource.Exists(host) || back != name:
			if bad++; bad < 10 {
				t.Errorf("%s maps to %s (%v) on the host, which maps back to %s", name, host, ok, back)
			}
		case strings.HasPrefix(host, filepath.Dir(root)+"/"):
			inWorkspace++
		}
	}
	if inWorkspace < 3 {
		t.Errorf("got %d files in the workspace, want at least 3", inWorkspace)
	}
	if bad > 0 {
		for _, f := range m.inference.Findings {
			t.Logf("%s: %s=%s (%s) %d of %d", f, f.Host, f.Node, f.Reason, f.OnHost, f.Files)
		}
	}
}

// buildCase is how a binary is built, and what the host has.
type buildCase struct {
	flags                  []string // SRC stands for the directory of the source
	nodeVendor, hostVendor bool     // dependencies are vendored there, here
	work                   bool
	toolchain              string
}

// build builds the program in one copy of the workspace. It returns the binary, and the
// main module's root in another copy.
func (b buildCase) build(t *testing.T) (bin, root string) {
	t.Helper()
	onNode, onHost := copyWorkspace(t), copyWorkspace(t)
	env := []string{"GOFLAGS=-mod=mod -modcacherw", "GOWORK=off", "CGO_ENABLED=0", "GOMODCACHE=" + t.TempDir(), "GOPROXY=file://" + proxyDir(t), "GOSUMDB=off"}
	if b.work {
		for _, dir := range []string{onNode, onHost} {
			testenv.WriteFile(t, filepath.Join(dir, "go.work"), "go 1.26.0\n\nuse ./app\n\nuse ./lib\n")
		}
		env = append(env, "GOWORK=", "GOFLAGS=-modcacherw")
	}
	for dir, wanted := range map[string]bool{onNode: b.nodeVendor, onHost: b.hostVendor} {
		if wanted {
			runGo(t, filepath.Join(dir, "app"), env, "mod", "vendor")
		}
	}
	if b.nodeVendor {
		env = append(env, "GOFLAGS=-mod=vendor")
	}
	if b.toolchain != "" {
		env = append(env, "GOROOT="+findGoroot(t, b.toolchain))
	}
	bin = filepath.Join(t.TempDir(), "app")
	args := []string{"build", "-o", bin}
	for _, f := range b.flags {
		args = append(args, strings.ReplaceAll(f, "SRC", onNode))
	}
	runGo(t, filepath.Join(onNode, "app"), env, append(args, "./cmd/app")...)
	return bin, filepath.Join(onHost, "app")
}

// copyWorkspace copies the workspace in testdata to a temporary directory. Its main module
// has a dependency at a version, a replaced one, and one that is a directory beside it.
func copyWorkspace(t *testing.T) string {
	t.Helper()
	dir := gosource.RealPath(t.TempDir())
	if err := os.CopyFS(dir, os.DirFS("testdata/workspace")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// proxyDir returns the directory of the go command's downloads, which has the layout of a
// module proxy (go.dev/ref/mod, module cache).
func proxyDir(t *testing.T) string {
	t.Helper()
	return filepath.ToSlash(filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download"))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return runGo(t, "", nil, "env", name)
}

// findGoroot returns the GOROOT of another version of Go, which the go command downloads.
func findGoroot(t *testing.T, version string) string {
	t.Helper()
	testenv.SecondTier(t)
	return runGo(t, t.TempDir(), []string{"GOTOOLCHAIN=" + version, "GOFLAGS=", "GOWORK=off"}, "env", "GOROOT")
}

// runGo runs the go command, that of GOROOT if env sets one, and returns its output.
func runGo(t *testing.T, dir string, env []string, args ...string) string {
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
	var stderr strings.Builder // kept out of the output, since go reports downloads there
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
