package config_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/config"
	"github.com/dapbridge/dapbridge/internal/diag"
)

const somebody = 65534

// TestOthersWrite shows that a file which another user can change is neither
// trusted nor, for the user's own, read.
func TestOthersWrite(t *testing.T) {
	spoil := map[string]func(path string) error{
		"group": func(path string) error { return os.Chmod(path, 0o660) },
		"world": func(path string) error { return os.Chmod(path, 0o602) },
		"owner": func(path string) error { return os.Chown(path, somebody, -1) },
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			if name == "owner" && os.Geteuid() != 0 {
				t.Skip("needs root, to give a file away")
			}
			spoiled := func(path string) {
				t.Helper()
				if err := spoil(path); err != nil {
					t.Fatal(err)
				}
			}
			p := newPlace(t)
			p.write(p.file(), asks)
			p.trusts(p.file())
			p.mustLoad()
			spoiled(p.file())
			p.refused(diag.ConfigUntrusted, p.file()+":2: node", "no longer trusted", "user")
			w, err := config.ReadWorkspace(p.file())
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, p.trust.Add(w), diag.ConfigUntrusted, "can't be trusted", "user")
			if err := os.Remove(p.file()); err != nil {
				t.Fatal(err)
			}

			p.write(p.file(), "target: crio\n") // needs no trust, whoever wrote it
			spoiled(p.file())
			p.mustLoad()

			p.write(p.user, "target: x\n")
			spoiled(p.user)
			p.refused(diag.ConfigUntrusted, p.user+" is not read", "user")
			if err := os.Remove(p.user); err != nil {
				t.Fatal(err)
			}

			spoiled(p.trust.File)
			p.refused(diag.ConfigUntrusted, p.trust.File, "does not count")
		})
	}
}

// TestPipe shows that a pipe in a file's place does not hold anybody up.
func TestPipe(t *testing.T) {
	p := newPlace(t)
	for _, path := range []string{p.user, p.file()} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		p.refused(diag.ConfigInvalid, path, "no regular file")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
