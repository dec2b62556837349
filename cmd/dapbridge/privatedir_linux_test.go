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

// stranger is a user other than the one that dapbridge runs as.
const stranger = 65533

// TestMakePrivateDir tries directories as an attacker or a careless umask would leave
// them.
func TestMakePrivateDir(t *testing.T) {
	t.Cleanup(func(old int) func() { return func() { syscall.Umask(old) } }(syscall.Umask(0)))
	base := t.TempDir()
	for _, tt := range []struct {
		name    string
		prepare func(path string) error
		refused string // part of the error; "" if the directory is accepted and made private
	}{
		{"missing", func(string) error { return nil }, ""},
		{"missing with its parents", func(path string) error { return os.Remove(filepath.Dir(path)) }, ""},
		{"private", mkdir(0o700), ""},
		{"readable", mkdir(0o755), ""},
		{"of a group", mkdir(0o770), "other users can write to"},
		{"everybody's", mkdir(0o777), "(mode 0777)"},
		{"everybody's, sticky", mkdir(0o777 | os.ModeSticky), "other users can write to"},
		{"another's", func(path string) error { return firstError(os.Mkdir(path, 0o700), os.Chown(path, stranger, stranger)) }, "belongs to another user"},
		{"a link of ours", func(path string) error { return firstError(os.Mkdir(path+"2", 0o755), os.Symlink(path+"2", path)) }, ""},
		{"another's link to ours", func(path string) error {
			return firstError(os.Mkdir(path+"2", 0o700), os.Symlink(path+"2", path), os.Lchown(path, stranger, stranger))
		}, "belongs to another user"},
		{"a link to another's", func(path string) error {
			return firstError(os.Mkdir(path+"2", 0o700), os.Chown(path+"2", stranger, stranger), os.Symlink(path+"2", path))
		}, "belongs to another user"},
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
			err := makePrivateDir(path)
			if tt.refused != "" {
				if code := diag.CodeOf(err); code != diag.DirUnsafe {
					t.Errorf("got the code %s", code)
				}
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %v, want …%s…", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if mode := info.Mode().Perm(); mode != 0o700 {
				t.Errorf("the directory has mode %o, want 700", mode)
			}
		})
	}
}

func mkdir(mode os.FileMode) func(string) error {
	return func(path string) error { return firstError(os.Mkdir(path, 0o700), os.Chmod(path, mode)) }
}

// firstError returns the first error that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestForeignCache has another user prepare a cache directory in a shared place, and
// checks that no command uses it.
func TestForeignCache(t *testing.T) {
	testenv.NeedsRoot(t, "only root can be another user")
	shared := t.TempDir()
	if err := firstError(os.Chmod(shared, 0o777|os.ModeSticky), os.Chmod(filepath.Dir(shared), 0o755)); err != nil {
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
				want := fmt.Sprintf("error: %s belongs to another user\nhint: move that directory away", filepath.Join(shared, "dapbridge"))
				if status != 5 {
					t.Errorf("%s: exit status %d, want 5", command, status)
				}
				if !strings.HasPrefix(said.String(), want) {
					t.Errorf("%s: got %q, want %q", command, said.String(), want)
				}
			}
		})
	}
}
