//go:build linux

package swap

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// atEnd calls do when everything has been read.
type atEnd struct {
	io.Reader
	do func()
}

func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		a.do()
	}
	return n, err
}

// TestUpgraded replaces the executable after a deploy that changed nothing, and after
// a complete one: restore does what the request says.
func TestUpgraded(t *testing.T) {
	t.Run("interrupted", func(t *testing.T) {
		b := newBench(t)
		bin, upgrade := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "upgrade")
		install(t, bin, newExecutable(t, "original"))
		b.start("a.service", bin, "true")
		ctx, cancel := context.WithCancel(t.Context())
		if err := b.deploy(ctx, "a.service", newExecutable(t, "build"), func(r io.Reader) io.Reader { return &atEnd{r, cancel} }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		install(t, bin, upgrade)
		b.mustRestore("", 0)
		b.mustHave(bin, upgrade)
	})
	for _, stage := range []string{stageKept, stageDeployed} {
		t.Run(stage, func(t *testing.T) {
			b := newBench(t)
			etc := t.TempDir()
			bin, build, upgrade := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "build"), newExecutable(t, "upgrade")
			install(t, bin, newExecutable(t, "original"))
			in := newDropIn(etc, "a.service", "WatchdogSec=0")
			b.recordDeploy("a.service", bin, stage, build, in)
			install(t, bin, upgrade)
			b.start("a.service", bin, "true")
			if stage == stageDeployed {
				if err := b.deploy(t.Context(), "a.service", build, nil); diag.CodeOf(err) != diag.DeployRefused || !strings.Contains(err.Error(), "was replaced") {
					t.Errorf("deploy: %v", err)
				}
			}
			if stage == stageKept {
				b.mustRestore("", 1) // of a unit that was not changed
				b.mustRestore(api.KeepReplaced, 0)
				b.mustHave(bin, upgrade)
				return
			}
			_, err := b.Restore(t.Context(), api.RestoreRequest{})
			if diag.CodeOf(err) != diag.RestoreFailed || !strings.Contains(err.Error(), "was replaced") {
				t.Errorf("restore without Replaced: %v", err)
			}
			b.mustHave(bin, upgrade)
			unit := b.mustRestore(api.KeepReplaced, 1)[0]
			testenv.Equal(t, "File", unit.File, false)
			testenv.Equal(t, "Replaced", unit.Replaced, true)
			b.mustHave(bin, upgrade)
			if _, err := os.Stat(in.Path); err == nil {
				t.Error("the drop-in is left")
			}
			if err := b.deploy(t.Context(), "a.service", build, nil); err != nil {
				t.Errorf("the next deploy: %v", err)
			}
			b.mustRestore("", 1)
			b.mustHave(bin, upgrade)
		})
	}
	t.Run("undone", func(t *testing.T) {
		b := newBench(t)
		bin, original := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "original")
		install(t, bin, original)
		b.recordDeploy("a.service", bin, stageDeployed, newExecutable(t, "build"))
		install(t, bin, newExecutable(t, "by hand"))
		b.start("a.service", bin, "true")
		before := b.pid("a.service")
		testenv.Equal(t, "Replaced", b.mustRestore(api.UndoReplaced, 1)[0].Replaced, true)
		b.mustHave(bin, original)
		if b.pid("a.service") == before {
			t.Error("a.service was not restarted")
		}
	})
}

// TestRestoreAgain lets a restore fail after it has removed the drop-ins: the second
// one still restarts the unit that runs with them.
func TestRestoreAgain(t *testing.T) {
	b := newBench(t)
	dir, etc := t.TempDir(), t.TempDir()
	bin, original, build := filepath.Join(dir, "daemon"), newExecutable(t, "original"), newExecutable(t, "build")
	install(t, bin, original)
	b.recordDeploy("a.service", bin, stageDeployed, build, newDropIn(etc, "k.service", "ExecStart=x"))
	install(t, bin, build)
	install(t, filepath.Join(dir, "kubelet"), newExecutable(t, "kubelet"))
	b.start("a.service", bin, "true")
	b.start("k.service", filepath.Join(dir, "kubelet"), "true")
	before := b.pid("k.service")
	b.write("fails-restart", "")
	if _, err := b.Restore(t.Context(), api.RestoreRequest{}); diag.CodeOf(err) != diag.RestoreFailed {
		t.Fatalf("without a restart: %v", err)
	}
	b.remove("fails-restart")
	b.commands()
	b.mustRestore("", 1)
	b.mustHave(bin, original)
	if said := b.commands(); b.pid("k.service") == before || !strings.Contains(said, "daemon-reload") {
		t.Errorf("k.service goes on with what the drop-in said:\n%s", said)
	}
}

// TestRestoreAfterMove moves the executable, as an upgrade may, and removes the unit.
func TestRestoreAfterMove(t *testing.T) {
	for _, gone := range []bool{false, true} {
		b := newBench(t)
		dir := t.TempDir()
		bin, moved, build := filepath.Join(dir, "daemon"), filepath.Join(dir, "moved"), newExecutable(t, "build")
		install(t, bin, newExecutable(t, "original"))
		b.recordDeploy("a.service", bin, stageDeployed, build)
		if err := os.Remove(bin); err != nil {
			t.Fatal(err)
		}
		before := 0
		if !gone {
			install(t, moved, newExecutable(t, "upgrade"))
			b.start("a.service", moved, "true")
			before = b.pid("a.service")
		}
		testenv.Equal(t, "restarted units", b.mustRestore("", 1)[0].Restarted, []string{})
		if _, err := os.Stat(bin); err == nil {
			t.Errorf("gone %v: the original was put back", gone)
		}
		testenv.Equal(t, "pid", b.pid("a.service"), before)
	}
}
