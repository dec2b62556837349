package twin

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestMain makes the test binary a -toolexec program too: with the argument
// "toolexec" it runs a tool, as dapbridge does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "toolexec" {
		os.Exit(runToolexec(os.Args[2:]))
	}
	dir, err := os.MkdirTemp("", "dapbridge-twin-")
	if err != nil {
		panic(err)
	}
	os.Setenv("TWIN_TEST_DIR", dir) // one build cache for all tests
	status := m.Run()
	removeAll(dir)
	os.Exit(status)
}

func runToolexec(args []string) int {
	var c Changes
	for i, a := range args {
		if a == "--" {
			status, err := RunTool(args[i+1:], c, os.Environ(), os.Stdout, os.Stderr)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			return status
		}
		switch name, value, _ := strings.Cut(a, "="); name {
		case "--map":
			c.Rules = append(c.Rules, value)
		case "--goroot":
			c.GOROOT = value
		case "--version":
			c.Stamp.Version = value
		case "--sum":
			c.Stamp.Sum = value
		case "--setting":
			c.Stamp.Settings = append(c.Stamp.Settings, value)
		case "--relocations":
			c.Relocations = true
		}
	}
	return 2
}

// noRaceSleep saves each tool the second that a program built with the race detector
// sleeps before it exits.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

func newBuilder(t testing.TB) *Builder {
	testenv.SkipShort(t, "it builds a twin")
	return &Builder{
		Dir: filepath.Join(os.Getenv("TWIN_TEST_DIR"), "twins"), Env: os.Environ(),
		ToolExec: []string{"env", noRaceSleep, os.Args[0], "toolexec"}, Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) { l.t.Log(string(p)); return len(p), nil }

// localOriginal is an executable on this machine.
type localOriginal struct{ x *exe.File }

func openOriginal(t testing.TB, path string) localOriginal {
	t.Helper()
	x, err := exe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return localOriginal{x}
}

func (o localOriginal) Fingerprint(context.Context) (exe.Fingerprint, error) {
	p, err := o.x.Fingerprint()
	if err != nil {
		return exe.Fingerprint{}, err
	}
	return *p, nil
}

func (o localOriginal) Blocks(_ context.Context, r exe.Range) ([]byte, error) {
	return o.x.Blocks(r)
}
func (o localOriginal) Content(_ context.Context, r exe.Range) ([]byte, error) {
	return o.x.Content(r)
}
func (o localOriginal) Shapes(context.Context) ([]byte, error) { return o.x.Shapes() }
func (o localOriginal) Function(_ context.Context, i uint64) (exe.Function, error) {
	return o.x.Function(i)
}

func (o localOriginal) Words(_ context.Context, offsets []uint64) ([]uint32, error) {
	return o.x.Words(offsets)
}
func (o localOriginal) Strings(_ context.Context, addrs []uint64) ([]exe.Text, error) {
	return o.x.Strings(addrs)
}

func (o localOriginal) recipe(t testing.TB) *recipe.Recipe {
	t.Helper()
	origin, err := o.x.Origin()
	if err != nil {
		t.Fatal(err)
	}
	r, err := recipe.New(origin, recipe.Host{OS: "linux", Arch: runtime.GOARCH, CC: map[string]string{"arm64": "aarch64-linux-gnu-gcc"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// writeTree writes files, given by their paths below dir.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a command in dir with the variables in env and returns its output.
func run(t testing.TB, dir string, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t", "GOOS=linux", "PWD="+dir)
	cmd.Env = append(cmd.Env, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
