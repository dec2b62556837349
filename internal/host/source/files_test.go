package source

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestKeep(t *testing.T) {
	host := filepath.Join(t.TempDir(), "a.go")
	if err := os.WriteFile(host, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{CacheDir: filepath.Join(t.TempDir(), "dapbridge")}
	s := c.NewFiles(nil, NewDownloads(), api.Target{})
	check := func(node, want string) {
		t.Helper()
		path, err := s.Keep(t.Context(), host, node)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != want {
			t.Errorf("got %q in %s, want %q", text, path, want)
		}
		info, err := os.Stat(s.KeepDir())
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); runtime.GOOS != "windows" && got != 0o700 {
			t.Errorf("got mode %#o of %s, want 0700", got, s.KeepDir())
		}
	}
	check("/node/a.go", "one")
	check("/node/a.go", "one")
	check("fmt/a.go", "one")
	if err := os.WriteFile(host, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("/node/a.go", "two") // replaces a read-only file
	if left, _ := filepath.Glob(s.KeepDir() + "/root/node/*"); len(left) != 1 {
		t.Errorf("got the files %q, want one", left)
	}
}

// TestKeepIsBounded checks that what one session keeps is bounded, and that what no
// session has used for a long time is removed.
func TestKeepIsBounded(t *testing.T) {
	host := filepath.Join(t.TempDir(), "a.go")
	if err := os.WriteFile(host, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{CacheDir: t.TempDir()}
	old := filepath.Join(c.CacheDir, "sources", "old")
	recent := filepath.Join(c.CacheDir, "sources", "recent")
	for _, dir := range []string{old, recent} {
		if err := os.MkdirAll(filepath.Join(dir, "root"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-maxKeptAge - time.Hour)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	s := c.NewFiles(nil, NewDownloads(), api.Target{})
	s.keptBytes.Store(maxKeptBytes - 4)
	if _, err := s.Keep(t.Context(), host, "/a.go"); err != nil {
		t.Error(err)
	}
	if _, err := s.Keep(t.Context(), host, "/b.go"); err == nil {
		t.Errorf("kept more than %d bytes", maxKeptBytes)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("a directory that no session has used for long is still there")
	}
	if _, err := os.Stat(recent); err != nil {
		t.Error(err)
	}
}

// TestKeepStaysInItsDirectory checks that neither a name from the node nor a symbolic link
// in the directory leads out of it.
func TestKeepStaysInItsDirectory(t *testing.T) {
	host := filepath.Join(t.TempDir(), "a.go")
	if err := os.WriteFile(host, []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	s := Config{CacheDir: t.TempDir()}.NewFiles(nil, NewDownloads(), api.Target{})
	if err := os.MkdirAll(filepath.Join(s.KeepDir(), "root"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(s.KeepDir(), "root", "link")); err != nil {
		testenv.Skipf(t, "cannot make symbolic links: %v", err)
	}
	for _, node := range []string{"", ".", "..", "../a.go", "/../a.go", "/x/../../../a.go", "/", "//a.go", "a//b.go", "/a.go/", "a\x00b.go", "/link/a.go"} {
		if path, err := s.Keep(t.Context(), host, node); err == nil {
			t.Errorf("%q was kept as %s", node, path)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("wrote outside of the directory: %v", left)
	}
}

func TestReadFromHost(t *testing.T) {
	dir := t.TempDir()
	s := &Files{downloads: NewDownloads()}
	for _, share := range []string{`\\evil\share\a.go`, `//evil/share/a.go`, `\/evil/a.go`, `\\.\pipe\x`} {
		if !s.IsOnHost(share) {
			t.Errorf("%s was opened: it is reported as missing", share)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "none.go"), ""} {
		if s.IsOnHost(path) {
			t.Errorf("%q is reported as a file", path)
		}
	}
	large := filepath.Join(dir, "large.go")
	if err := os.WriteFile(large, make([]byte, maxSourceSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if !s.IsOnHost(large) {
		t.Errorf("%s is reported as missing", large)
	}
	if _, err := s.Read(t.Context(), large, "x"); err == nil {
		t.Errorf("read a file of %d bytes", maxSourceSize+1)
	}
}
