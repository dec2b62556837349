package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestPathsOfRealBinaries debugs a program that was built in several ways on a "build
// machine" that no longer exists. Without --map, breakpoints at host paths are verified
// and hit in the main module, in dependencies of each kind and in the standard library,
// and the files of all frames exist on the host.
func TestPathsOfRealBinaries(t *testing.T) {
	f := setupAll(t)
	f.emptyModules(t)
	for name, b := range map[string]buildMachine{
		"plain":    {},
		"trimpath": {flags: []string{"-trimpath"}},
		"vendored": {vendor: true},
		"go.work":  {work: true},
		"GOROOT":   {toolchain: "go1.27.0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(f.dir, t.Name())
			t.Cleanup(func() { os.RemoveAll(dir) })
			here := f.workspace(t, b, filepath.Join(dir, "here"))
			pid := f.startBuilt(t, b, filepath.Join(dir, "there"), "built-"+name)

			c := f.serve(t, "--pid", strconv.Itoa(pid), "--root", filepath.Join(here, "app")).dial(t)
			if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
				t.Fatal(err)
			}
			goroot := goEnv(t, "GOROOT")
			if b.toolchain != "" {
				goroot = filepath.Join(f.modules, "golang.org/toolchain@v0.0.1-"+b.toolchain+"."+runtime.GOOS+"-"+runtime.GOARCH)
			}
			comesBy := func(context.Context) ([]byte, error) { return nil, nil } // of its own
			for _, s := range []spot{
				{filepath.Join(here, "app/cmd/app/main.go"), "var g errgroup.Group", comesBy},
				{filepath.Join(here, "app/internal/greet/greet.go"), `return "hello"`, comesBy},
				{filepath.Join(here, "lib/deep/deep.go"), `return "deep"`, comesBy},
				{filepath.Join(f.modules, "golang.org/x/mod@v0.43.0/semver/semver.go"), `if v == "" || v[0] != 'v'`, comesBy},
				{filepath.Join(f.modules, "golang.org/x/sync@v0.24.0/errgroup/errgroup.go"), "g.wg.Wait()", comesBy},
				{filepath.Join(goroot, "src/net/http/server.go"), `ln, err := net.Listen("tcp", addr)`, comesBy},
			} {
				checkHit(t, c, s)
			}
		})
	}
}

// buildMachine describes how a binary is built there.
type buildMachine struct {
	flags     []string
	vendor    bool   // the dependencies are vendored there, and not here
	work      bool   // there is a go.work, there and here
	toolchain string // the version of a Go that is not the host's own
}

// workspaceSource has a program and a module beside it.
const workspaceSource = "../internal/host/source/testdata/workspace"

// workspace creates the user's copy of the source, and fills the user's module cache
// with what it needs.
func (f *fixture) workspace(t *testing.T, b buildMachine, dir string) string {
	t.Helper()
	b.copySource(t, dir)
	b.goCommand(t, filepath.Join(dir, "app"), f.modules, "mod", "download")
	if b.toolchain != "" {
		b.copyLibrary(t, filepath.Join(dir, "app"), f.modules)
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprint(userUID), dir, f.modules).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// copyLibrary copies the files of the toolchain that the program is built from into
// another module cache. The whole toolchain has more than 13,000 files.
func (b buildMachine) copyLibrary(t *testing.T, app, modules string) {
	t.Helper()
	files := b.goCommand(t, app, modules, "list", "-deps", "-f",
		`{{if .Standard}}{{range .GoFiles}}{{$.Dir}}/{{.}} {{end}}{{range .SFiles}}{{$.Dir}}/{{.}} {{end}}{{end}}`, "./cmd/app")
	from := goEnv(t, "GOMODCACHE")
	cp := exec.Command("cp", slices.Concat([]string{"--parents", "-t", modules}, strings.Fields(strings.ReplaceAll(files, from+"/", "")))...)
	cp.Dir = from
	if out, err := cp.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// startBuilt builds the program in dir, removes dir, starts the program on the node
// under the name, and returns its pid there.
func (f *fixture) startBuilt(t *testing.T, b buildMachine, dir, name string) (pid int) {
	t.Helper()
	b.copySource(t, dir)
	app, modules := filepath.Join(dir, "app"), filepath.Join(dir, "modules")
	if b.vendor {
		b.goCommand(t, app, modules, "mod", "vendor")
	}
	bin := filepath.Join(f.node.RootFS(), programs, name)
	b.goCommand(t, app, modules, slices.Concat([]string{"build", "-o", bin}, b.flags, []string{"./cmd/app"})...)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return f.start(t, name)
}

func (b buildMachine) copySource(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(workspaceSource)); err != nil {
		t.Fatal(err)
	}
	if !b.work {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "go.work"), []byte("go 1.26.0\n\nuse ./app\n\nuse ./lib\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// goCommand runs the go command with a module cache, which it fills from the downloads
// of this machine: they have the form of a module proxy (go.dev/ref/mod, module cache).
// It returns the output.
func (b buildMachine) goCommand(t *testing.T, dir, modules string, args ...string) string {
	t.Helper()
	downloaded := goEnv(t, "GOMODCACHE")
	program := "go"
	if b.toolchain != "" {
		get := exec.Command("go", "env", "GOROOT") // downloads it, and makes it executable
		get.Dir = t.TempDir()                      // outside of this module
		get.Env = append(get.Environ(), "GOTOOLCHAIN="+b.toolchain)
		goroot, err := get.Output()
		if err != nil {
			t.Fatalf("%s: %v", b.toolchain, err)
		}
		program = filepath.Join(strings.TrimSpace(string(goroot)), "bin/go")
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GOROOT=", "GOTOOLCHAIN=local", "GOWORK=", "GOFLAGS=-modcacherw", "CGO_ENABLED=0",
		"GOMODCACHE="+modules, "GOPROXY=file://"+filepath.Join(downloaded, "cache/download"), "GOSUMDB=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
