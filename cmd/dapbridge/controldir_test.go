package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestControlDirs checks that control sockets are only in private directories.
func TestControlDirs(t *testing.T) {
	testenv.SkipOn(t, "windows", "there is none")
	home, runtimeDir, state := t.TempDir(), t.TempDir(), t.TempDir()
	env := func(runtimeDir string) environment {
		t.Setenv("HOME", home)
		return environment{getenv: func(name string) string {
			return map[string]string{"XDG_RUNTIME_DIR": runtimeDir, "XDG_STATE_HOME": state}[name]
		}}
	}
	inState := filepath.Join(state, "dapbridge", "run")
	expect := func(what, runtimeDir string, want ...string) {
		t.Helper()
		if dirs, err := env(runtimeDir).controlDirs(); err != nil || !slices.Equal(dirs, want) {
			t.Errorf("%s: %q, %v, want %q", what, dirs, err, want)
		}
	}
	expect("both", runtimeDir, filepath.Join(runtimeDir, "dapbridge"), inState)
	expect("without a runtime directory", "", inState)
	expect("with a relative one", "run", inState)
	if err := os.Chmod(filepath.Join(runtimeDir, "dapbridge"), 0o777); err != nil {
		t.Fatal(err)
	}
	expect("with one that others can write to", runtimeDir, inState)
	if err := os.Chmod(filepath.Join(state, "dapbridge"), 0o777); err != nil {
		t.Fatal(err)
	}
	expect("without a private directory", runtimeDir)
	if dir, err := env(runtimeDir).controlDir(); dir != "" || err != nil {
		t.Errorf("%q, %v", dir, err)
	}
}
