package procfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestReadSource(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at("real"), 0o755))
	must(os.WriteFile(at("real/a.go"), []byte("package a\n"), 0o600))
	must(os.WriteFile(at("secret"), []byte("secret"), 0o600))
	must(os.WriteFile(at("large.go"), bytes.Repeat([]byte("/"), sourceLimit+1), 0o600))
	must(os.Symlink(at("real"), at("link")))
	must(os.Symlink(at("secret"), at("secret.go")))
	must(os.Symlink("/proc/self/root", at("magic")))
	must(os.Mkdir(at("dir.go"), 0o755))
	must(syscall.Mkfifo(at("pipe.go"), 0o600))
	self := os.Getpid()
	for _, name := range []string{"real/a.go", "link/a.go"} {
		if text, err := ReadSource(self, at(name)); err != nil || string(text) != "package a\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for name, want := range map[string]string{
		at("secret.go"):               "not a regular file",
		at("secret"):                  "the name of a source file",
		at("dir.go"):                  "not a regular file",
		at("pipe.go"):                 "not a regular file",
		at("large.go"):                "over 4194304 bytes",
		at("none.go"):                 "no such file",
		dir + "/real/../real/a.go":    "not a clean absolute path",
		at("magic") + at("real/a.go"): "too many levels of symbolic links",
		"real/a.go":                   "not a clean absolute path",
		"runtime/proc.go":             "not a clean absolute path",
		"":                            "not a clean absolute path",
	} {
		text, err := ReadSource(self, name)
		if diag.CodeOf(err) != diag.SourceMissing || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", name, text, err, want)
		}
	}
}
