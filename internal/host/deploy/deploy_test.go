package deploy_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/deploy"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// workspace writes a module with a daemon in it.
func newWorkspace(t *testing.T, module, code string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":        "module " + module + "\n\ngo 1.26.0\n",
		"cmd/d/main.go": "package main\n\nvar version string\n\nfunc main() {" + code + "}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newDebugRecipe(t *testing.T) *recipe.Debug {
	t.Helper()
	d, err := recipe.NewDebug(&exe.Origin{Build: exe.Build{
		MainPackage: "example.com/d/cmd/d", ModulePath: "example.com/d", Arch: "arm64", GoVersion: "go1.26.8",
		Settings: map[string]string{"-ldflags": "-X main.version=1.2.3 -s -w"},
	}}, "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newBuilder(t *testing.T, out *bytes.Buffer) *deploy.Builder {
	return &deploy.Builder{Dir: t.TempDir(), Env: append(os.Environ(), "GOFLAGS="), Out: out}
}

// TestGitRunsNothing builds a repository of somebody else's whose configuration names a
// program for git.
func TestGitRunsNothing(t *testing.T) {
	var said bytes.Buffer
	b, dir := newBuilder(t, &said), newWorkspace(t, "example.com/d", "println(version)")
	ran := filepath.Join(t.TempDir(), "ran")
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "a"},
		{"config", "core.fsmonitor", "touch " + ran + "; false"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	os.Remove(ran)
	if _, err := b.Build(t.Context(), newDebugRecipe(t), dir); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the build of a repository has run a program that it names")
	}
}

// TestBuild builds for another platform than, likely, this one, and sees what
// came out.
func TestBuild(t *testing.T) {
	var said bytes.Buffer
	b, dir := newBuilder(t, &said), newWorkspace(t, "example.com/d", "println(version)")
	built, err := b.Build(t.Context(), newDebugRecipe(t), dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	x, err := exe.Open(built.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	info, err := x.Build()
	if err != nil || info.Arch != "arm64" || info.Stripped || info.Settings["-gcflags"] != "all=-N -l" || !strings.Contains(info.Settings["-ldflags"], "main.version=1.2.3") || (built.Needs.Interpreter != "") {
		t.Errorf("%+v, %v", info, err)
	}
	again, err := b.Build(t.Context(), newDebugRecipe(t), dir)
	if err != nil || again.SHA256 != built.SHA256 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestBuildFails(t *testing.T) {
	for _, tt := range []struct {
		name, module, code string
		want               diag.Code
		says               string
	}{
		{"compile error", "example.com/d", "nonsense(1)", diag.DeployBuild, "undefined: nonsense"},
		{"another module", "example.com/e", "", diag.DeploySource, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			built, err := newBuilder(t, &said).Build(t.Context(), newDebugRecipe(t), newWorkspace(t, tt.module, tt.code))
			if diag.CodeOf(err) != tt.want || !strings.Contains(said.String(), tt.says) {
				t.Errorf("%+v, %v\n%s", built, err, &said)
			}
		})
	}
}

// TestBuildOfDependency refuses a workspace that only depends on the target's
// module: what the user edits there would not be built.
func TestBuildOfDependency(t *testing.T) {
	there, dir := newWorkspace(t, "example.com/d", ""), newWorkspace(t, "example.com/e", "")
	mod := "module example.com/e\n\ngo 1.26.0\n\nrequire example.com/d v0.0.0\n\nreplace example.com/d => " + there + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if built, err := newBuilder(t, &said).Build(t.Context(), newDebugRecipe(t), dir); diag.CodeOf(err) != diag.DeploySource || !strings.Contains(err.Error(), "main module") {
		t.Errorf("%+v, %v\n%s", built, err, &said)
	}
}

// TestCommand builds by a command of the user's.
func TestCommand(t *testing.T) {
	testenv.SkipOn(t, "windows", "needs sh")
	for _, tt := range []struct {
		name, command string
		want          diag.Code // "" if it goes well
		says          string    // in the error
	}{
		{"good", `CGO_ENABLED=0 go build -o "$OUT" ./cmd/d`, "", ""},
		{"fails", "echo wrong >&2; exit 3", diag.DeployBuild, "exit status 3"},
		{"writes nothing", "true", diag.DeployBuild, "no file"},
		{"another platform", `GOARCH=riscv64 CGO_ENABLED=0 go build -o "$OUT" ./cmd/d`, diag.DeployBuild, "is for riscv64"},
		{"stripped", `CGO_ENABLED=0 go build -ldflags=-s -o "$OUT" ./cmd/d`, diag.DeployBuild, "no debug information"},
		{"no program", `echo x >"$OUT"`, diag.DeployBuild, "what was built"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			b := newBuilder(t, &said)
			b.Command = tt.command
			built, err := b.Build(t.Context(), newDebugRecipe(t), newWorkspace(t, "example.com/d", ""))
			switch {
			case tt.want == "" && (err != nil || built.Size == 0):
				t.Errorf("%v\n%s", err, &said)
			case tt.want != "" && (diag.CodeOf(err) != tt.want || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("%+v, %v", built, err)
			}
		})
	}
}

// TestCancelled ends a build with all that it started.
func TestCancelled(t *testing.T) {
	testenv.SkipOn(t, "windows", "needs sh")
	var said bytes.Buffer
	b := newBuilder(t, &said)
	b.Command = "sleep 100; sleep 100"
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := b.Build(ctx, newDebugRecipe(t), t.TempDir()); err != context.DeadlineExceeded || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}
