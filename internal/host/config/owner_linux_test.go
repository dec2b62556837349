package config_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/config"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

const otherUser = 65534

// TestOthersCanWrite checks that a file which another user can change is not trusted,
// and as the user's own file is not read.
func TestOthersCanWrite(t *testing.T) {
	spoil := map[string]func(path string) error{
		"group": func(path string) error { return os.Chmod(path, 0o660) },
		"world": func(path string) error { return os.Chmod(path, 0o602) },
		"owner": func(path string) error { return os.Chown(path, otherUser, -1) },
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			if name == "owner" {
				testenv.NeedsRoot(t, "it changes the owner of a file")
			}
			spoilFile := func(path string) {
				t.Helper()
				if err := spoil(path); err != nil {
					t.Fatal(err)
				}
			}
			p := newProject(t)
			p.write(p.file(), needsTrust)
			p.trustFile(p.file())
			p.mustLoad()
			spoilFile(p.file())
			p.wantRefusal(diag.ConfigUntrusted, p.file()+":2: node", "no longer trusted", "user")
			w, err := config.ReadWorkspace(p.file())
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, p.trust.Add(w), diag.ConfigUntrusted, "cannot trust", "user")
			if err := os.Remove(p.file()); err != nil {
				t.Fatal(err)
			}

			p.write(p.file(), "target: crio\n") // needs no trust
			spoilFile(p.file())
			p.mustLoad()

			p.write(p.user, "target: x\n")
			spoilFile(p.user)
			p.wantRefusal(diag.ConfigUntrusted, "refusing to read "+p.user, "user")
			if err := os.Remove(p.user); err != nil {
				t.Fatal(err)
			}

			spoilFile(p.trust.File)
			p.wantRefusal(diag.ConfigUntrusted, "refusing to use the list of trusted files", p.trust.File)
		})
	}
}

// TestPipe checks that a pipe instead of a file does not block.
func TestPipe(t *testing.T) {
	p := newProject(t)
	for _, path := range []string{p.user, p.file()} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		p.wantRefusal(diag.ConfigInvalid, path, "not a regular file")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
