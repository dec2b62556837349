package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/getsource"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestPrintSource checks that standard output has the path and nothing else, and that
// what the node says drives no terminal.
func TestPrintSource(t *testing.T) {
	for _, tt := range []struct {
		created bool
		notes   []string
		want    string
	}{
		{true, nil, "the source of containerd (commit 1c8ac2fd): created\n"},
		{false, []string{"a \x1b[31m submodule"}, "the source of containerd (commit 1c8ac2fd): is already there\nnote: a \\x1b[31m submodule\n"},
	} {
		var out, messages bytes.Buffer
		r := &getsource.Result{
			Target: &api.Target{Process: api.Process{Exe: "/usr/bin/containerd"}}, Source: recipe.Source{Revision: "1c8ac2fd"},
			Dir: "/home/me/containerd@v2.4.2", Created: tt.created, Notes: tt.notes,
		}
		if err := printSource(environment{out: &out, err: &messages}, r); err != nil {
			t.Fatal(err)
		}
		testenv.Equal(t, "standard output", out.String(), "/home/me/containerd@v2.4.2\n")
		testenv.Equal(t, "standard error", messages.String(), tt.want)
	}
}

// TestOpenSource starts a script as the editor.
func TestOpenSource(t *testing.T) {
	testenv.SkipOn(t, "windows", "it needs a shell script")
	dir := t.TempDir()
	editor, opened := filepath.Join(dir, "code"), filepath.Join(dir, "opened")
	testenv.WriteFile(t, editor, "#!/bin/sh\nprintf '%s,' \"$@\" >"+opened+"\n")
	if err := os.Chmod(editor, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for visual, want := range map[string]string{"": "/a b/$(x),", "code --wait": "--wait,/a b/$(x),", editor + "  -n --wait": "-n,--wait,/a b/$(x),"} {
		env := environment{getenv: func(string) string { return visual }, in: os.Stdin, err: t.Output()}
		words, err := findEditor(env)
		if err == nil {
			err = runEditor(t.Context(), env, words, "/a b/$(x)")
		}
		if err != nil {
			t.Errorf("VISUAL=%q: %v", visual, err)
			continue
		}
		testenv.Equal(t, "the arguments with VISUAL="+visual, testenv.ReadFile(t, opened), want)
	}
	t.Chdir(dir)
	t.Setenv("PATH", "."+string(os.PathListSeparator)+t.TempDir())
	for _, visual := range []string{"", "none --wait"} {
		_, err := findEditor(environment{getenv: func(string) string { return visual }})
		if diag.CodeOf(err) != diag.Usage || !strings.Contains(diag.Hint(err), "set VISUAL") {
			t.Errorf("VISUAL=%q: error %v (%s)", visual, err, diag.Hint(err))
		}
	}
}
