package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// oldGo is older than Delve supports.
const oldGo = "go1.24.0"

// TestWarnings serves targets that can be debugged with limitations: it warns and goes
// on.
func TestWarnings(t *testing.T) {
	f := setupAll(t)
	t.Run("for a debugger", func(t *testing.T) {
		pid := f.run(t, "slowd", "-gcflags=all=-N -l")
		if s := f.serve(t, "--pid", strconv.Itoa(pid)); len(s.warnings) > 0 {
			t.Errorf("warnings: %q", s.warnings)
		}
	})
	t.Run("optimised", func(t *testing.T) {
		pid := f.run(t, "fastd")
		s := f.serve(t, "--pid", strconv.Itoa(pid))
		if all := strings.Join(s.warnings, "\n"); !strings.Contains(all, "built for speed") || !strings.Contains(all, "-gcflags 'all=-N -l'") {
			t.Errorf("warnings: %q", s.warnings)
		}
	})
	t.Run("old Go", func(t *testing.T) {
		f.buildByOldGo(t, "oldd")
		pid := f.start(t, "oldd")
		s := f.serve(t, "--pid", strconv.Itoa(pid))
		c := s.dial(t)
		if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		if threads, err := c.Threads(short(t)); err != nil || len(threads) == 0 {
			t.Errorf("threads: %v, %v", threads, err)
		}
		for where, text := range map[string]string{"ready": strings.Join(s.warnings, "\n"), "debug console": c.Output()} {
			if !strings.Contains(text, "built with "+oldGo+", but Delve v1.") || !strings.Contains(text, "build it with go1.") {
				t.Errorf("%s: %q", where, text)
			}
		}
		if err := c.Disconnect(short(t), false); err != nil {
			t.Error(err)
		}
	})
}

// buildByOldGo builds a small program with an older toolchain and puts it on the node.
// It is a module of its own, since this one needs a newer Go.
func (f *fixture) buildByOldGo(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../internal/exe/exetest/testdata/sleeper")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/oldd\n\ngo 1.24\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(f.node.RootFS(), programs, name)
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-gcflags=all=-N -l", "-o", bin, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN="+oldGo, "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
