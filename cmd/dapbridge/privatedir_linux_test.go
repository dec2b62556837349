package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// stranger is a user who is not the one that dapbridge runs as.
const stranger = 65533

// TestPrivateDir has directories as an attacker or a careless umask would leave
// them.
func TestPrivateDir(t *testing.T) {
	t.Cleanup(func(old int) func() { return func() { syscall.Umask(old) } }(syscall.Umask(0)))
	base := t.TempDir()
	for _, tt := range []struct {
		name    string
		prepare func(path string) error
		refused string // part of the message; "" if it is taken, and then closed to others
	}{
		{"missing", func(string) error { return nil }, ""},
		{"missing with its parents", func(path string) error { return os.Remove(filepath.Dir(path)) }, ""},
		{"private", mkdir(0o700), ""},
		{"readable", mkdir(0o755), ""},
		{"of a group", mkdir(0o770), "can be written to by other users (mode 0770)"},
		{"everybody's", mkdir(0o777), "can be written to by other users (mode 0777)"},
		{"everybody's, sticky", mkdir(0o777 | os.ModeSticky), "can be written to by other users"},
		{"another's", func(path string) error { return first(os.Mkdir(path, 0o700), os.Chown(path, stranger, stranger)) }, "is another user's"},
		{"a link of ours", func(path string) error { return first(os.Mkdir(path+"2", 0o755), os.Symlink(path+"2", path)) }, ""},
		{"another's link to ours", func(path string) error {
			return first(os.Mkdir(path+"2", 0o700), os.Symlink(path+"2", path), os.Lchown(path, stranger, stranger))
		}, "is another user's"},
		{"a link to another's", func(path string) error {
			return first(os.Mkdir(path+"2", 0o700), os.Chown(path+"2", stranger, stranger), os.Symlink(path+"2", path))
		}, "is another user's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.name, "another") {
				testenv.NeedsRoot(t, "only root can be another user")
			}
			parent := filepath.Join(base, strings.ReplaceAll(tt.name, " ", "-"))
			path := filepath.Join(parent, "dapbridge")
			if err := os.Mkdir(parent, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := tt.prepare(path); err != nil {
				t.Fatal(err)
			}
			err := privateDir(path)
			if tt.refused != "" {
				if diag.CodeOf(err) != diag.DirUnsafe || diag.Exit(err) != 5 || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("%v, want …%s…", err, tt.refused)
				}
				return
			}
			if info, serr := os.Stat(path); err != nil || serr != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v, %v", err, info, serr)
			}
		})
	}
}

func mkdir(mode os.FileMode) func(string) error {
	return func(path string) error { return first(os.Mkdir(path, 0o700), os.Chmod(path, mode)) }
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestCacheOfAnother has another user prepare the cache directory that a shared
// place would hold: no command uses it.
func TestCacheOfAnother(t *testing.T) {
	testenv.NeedsRoot(t, "only root can be another user")
	shared := t.TempDir()
	if err := first(os.Chmod(shared, 0o777|os.ModeSticky), os.Chmod(filepath.Dir(shared), 0o755)); err != nil {
		t.Fatal(err)
	}
	plant := exec.Command("sh", "-c", "mkdir -m 777 dapbridge && echo evil > dapbridge/agent")
	plant.Dir = shared
	plant.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	if out, err := plant.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, variable := range []string{"XDG_CACHE_HOME", "XDG_STATE_HOME"} {
		t.Run(variable, func(t *testing.T) {
			for name, value := range map[string]string{"HOME": t.TempDir(), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "", "XDG_CACHE_HOME": "", variable: shared} {
				t.Setenv(name, value)
			}
			for _, command := range []string{"ps", "serve", "symbols", "paths"} {
				var said bytes.Buffer
				args := []string{command, "--node", "ssh://root@127.0.0.1:1"}
				status := run(t.Context(), environment{args: args, getenv: os.Getenv, in: os.Stdin, out: &said, err: &said})
				if want := fmt.Sprintf("error: %s is another user's\nhint: move that directory away", filepath.Join(shared, "dapbridge")); status != 5 || !strings.HasPrefix(said.String(), want) {
					t.Errorf("%s: exit status %d: %s", command, status, said.String())
				}
			}
		})
	}
}
