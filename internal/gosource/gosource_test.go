package gosource_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/gosource"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "// a comment\nmodule example.com/outer/v2\n")
	write(t, filepath.Join(root, "api", "go.mod"), "module \"example.com/api\"\n")
	write(t, filepath.Join(root, "cmd", "x", "main.go"), "package main\n")
	for dir, want := range map[string]gosource.Module{
		".":     {Root: root, Path: "example.com/outer/v2"},
		"cmd/x": {Root: root, Path: "example.com/outer/v2"},
		"api":   {Root: filepath.Join(root, "api"), Path: "example.com/api"},
	} {
		got, err := gosource.Find(filepath.Join(root, dir))
		if err != nil || got != want {
			t.Errorf("Find(%s) = %v, %v, want %v", dir, got, err, want)
		}
	}
}

func TestFindNone(t *testing.T) {
	if _, err := gosource.Find("/"); !errors.Is(err, gosource.ErrNoModule) {
		t.Errorf("at the root: %v", err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "go 1.26\n")
	if _, err := gosource.Find(dir); err == nil {
		t.Error("a go.mod without a module is accepted")
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
