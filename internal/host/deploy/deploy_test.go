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

// newWorkspace writes a module with a program and returns its directory.
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

// TestGitRunsNothing builds in an untrusted repository whose configuration names a
// program for git to run.
func TestGitRunsNothing(t *testing.T) {
	var out bytes.Buffer
	b, dir := newBuilder(t, &out), newWorkspace(t, "example.com/d", "println(version)")
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
		t.Fatalf("%v\n%s", err, &out)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the build ran a program that the repository names")
	}
}

// TestBuild builds for an architecture that probably is not this machine's, and
// inspects the result.
func TestBuild(t *testing.T) {
	var out bytes.Buffer
	b, dir := newBuilder(t, &out), newWorkspace(t, "example.com/d", "println(version)")
	built, err := b.Build(t.Context(), newDebugRecipe(t), dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	x, err := exe.Open(built.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	info, err := x.Build()
	if err != nil {
		t.Fatal(err)
	}
	if info.Arch != "arm64" {
		t.Errorf("built for %s, want arm64", info.Arch)
	}
	if info.Stripped {
		t.Error("the build is stripped")
	}
	if got, want := info.Settings["-gcflags"], "all=-N -l"; got != want {
		t.Errorf("-gcflags=%q, want %q", got, want)
	}
	if got, want := info.Settings["-ldflags"], "main.version=1.2.3"; !strings.Contains(got, want) {
		t.Errorf("-ldflags=%q, want %q", got, want)
	}
	if got := built.Needs.Interpreter; got != "" {
		t.Errorf("the build needs the interpreter %s, want a static one", got)
	}
	again, err := b.Build(t.Context(), newDebugRecipe(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256 != built.SHA256 {
		t.Errorf("the second build has the SHA-256 %s, the first %s", again.SHA256, built.SHA256)
	}
}

func TestBuildFails(t *testing.T) {
	for _, tt := range []struct {
		name, module, code string
		want               diag.Code
		output             string
	}{
		{"compile error", "example.com/d", "nonsense(1)", diag.DeployBuild, "undefined: nonsense"},
		{"another module", "example.com/e", "", diag.DeploySource, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := newBuilder(t, &out).Build(t.Context(), newDebugRecipe(t), newWorkspace(t, tt.module, tt.code))
			if diag.CodeOf(err) != tt.want {
				t.Errorf("error %v, want a %s error", err, tt.want)
			}
			if !strings.Contains(out.String(), tt.output) {
				t.Errorf("output %q, want %q", out.String(), tt.output)
			}
		})
	}
}

// TestBuildOfDependency checks that a workspace that merely depends on the target's
// module is refused: the user's edits there would not be built.
func TestBuildOfDependency(t *testing.T) {
	dependency, dir := newWorkspace(t, "example.com/d", ""), newWorkspace(t, "example.com/e", "")
	mod := "module example.com/e\n\ngo 1.26.0\n\nrequire example.com/d v0.0.0\n\nreplace example.com/d => " + dependency + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err := newBuilder(t, &out).Build(t.Context(), newDebugRecipe(t), dir)
	if diag.CodeOf(err) != diag.DeploySource {
		t.Fatalf("error %v, want a %s error\n%s", err, diag.DeploySource, &out)
	}
	if want := "main module"; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
}

// TestCommand builds with the user's command.
func TestCommand(t *testing.T) {
	testenv.SkipOn(t, "windows", "needs sh")
	for _, tt := range []struct {
		name, command string
		want          diag.Code // "" for success
		text          string    // in the error
	}{
		{"good", `CGO_ENABLED=0 go build -o "$OUT" ./cmd/d`, "", ""},
		{"fails", "echo wrong >&2; exit 3", diag.DeployBuild, "exit status 3"},
		{"writes nothing", "true", diag.DeployBuild, "wrote no file"},
		{"another platform", `GOARCH=riscv64 CGO_ENABLED=0 go build -o "$OUT" ./cmd/d`, diag.DeployBuild, "is for riscv64"},
		{"stripped", `CGO_ENABLED=0 go build -ldflags=-s -o "$OUT" ./cmd/d`, diag.DeployBuild, "no debug information"},
		{"no program", `echo x >"$OUT"`, diag.DeployBuild, "inspect the build"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			b := newBuilder(t, &out)
			b.Command = tt.command
			built, err := b.Build(t.Context(), newDebugRecipe(t), newWorkspace(t, "example.com/d", ""))
			if tt.want == "" {
				if err != nil {
					t.Fatalf("%v\n%s", err, &out)
				}
				if built.Size == 0 {
					t.Error("the build has a size of 0")
				}
				return
			}
			if diag.CodeOf(err) != tt.want {
				t.Fatalf("error %v, want a %s error", err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %q, want %q", err, tt.text)
			}
		})
	}
}

// TestCancelled checks that cancelling a build ends all processes that it started.
func TestCancelled(t *testing.T) {
	testenv.SkipOn(t, "windows", "needs sh")
	var out bytes.Buffer
	b := newBuilder(t, &out)
	b.Command = "sleep 100; sleep 100"
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := b.Build(ctx, newDebugRecipe(t), t.TempDir()); err != context.DeadlineExceeded {
		t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the build ended after %v, want at most 5 s", took)
	}
}
