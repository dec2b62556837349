//go:build linux

package swap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestReloadAfterAKill finds a drop-in as wanted, but does not know whether systemd
// has read it.
func TestReloadAfterAKill(t *testing.T) {
	b := newBench(t)
	in := newDropIn(t.TempDir(), "a.service", "WatchdogSec=0")
	if err := in.write(); err != nil {
		t.Fatal(err)
	}
	for unsure, want := range map[bool]string{false: "", true: "daemon-reload\n"} {
		changed, err := b.systemd.apply(t.Context(), []dropIn{in}, []dropIn{in}, unsure)
		if err != nil {
			t.Fatal(err)
		}
		testenv.Equal(t, "commands", b.commands(), want)
		testenv.Equal(t, "whether a unit has changed", len(changed) == 1, unsure)
	}
}

// TestDropInDirIsALink removes a drop-in from a directory that is a symbolic link.
func TestDropInDirIsALink(t *testing.T) {
	etc, real := t.TempDir(), t.TempDir()
	if err := os.Symlink(real, filepath.Join(etc, "k.service.d")); err != nil {
		t.Fatal(err)
	}
	in := newDropIn(etc, "k.service", "WatchdogSec=0")
	if err := in.write(); err != nil {
		t.Fatal(err)
	}
	if was, err := in.remove(); err != nil || !was {
		t.Fatal(was, err)
	}
	if _, err := os.Stat(filepath.Join(etc, "k.service.d")); err != nil {
		t.Error(err)
	}
}
