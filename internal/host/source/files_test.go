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
		if err != nil || string(text) != want {
			t.Errorf("%s has %q, %v", path, text, err)
		}
		if info, err := os.Stat(s.KeepDir()); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", s.KeepDir(), info.Mode(), err)
		}
	}
	check("/node/a.go", "one")
	check("/node/a.go", "one")
	check("fmt/a.go", "one")
	if err := os.WriteFile(host, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("/node/a.go", "two") // over what is read-only
	if left, _ := filepath.Glob(s.KeepDir() + "/root/node/*"); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// One session keeps so much and no more, and what no session used for long goes.
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
		t.Error("more was kept than may be")
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("what no session used for long is still there")
	}
	if _, err := os.Stat(recent); err != nil {
		t.Error(err)
	}
}

// No name of the node's leads out of the directory, nor does what somebody put
// there.
func TestKeepStaysInItsDirectory(t *testing.T) {
	host := filepath.Join(t.TempDir(), "a.go")
	if err := os.WriteFile(host, []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	s := Config{CacheDir: t.TempDir()}.NewFiles(nil, NewDownloads(), api.Target{})
	if err := os.MkdirAll(filepath.Join(s.KeepDir(), "root"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(out, filepath.Join(s.KeepDir(), "root", "link")); err != nil {
		testenv.Skipf(t, "no symbolic links here: %v", err)
	}
	for _, node := range []string{"", ".", "..", "../a.go", "/../a.go", "/x/../../../a.go", "/", "//a.go", "a//b.go", "/a.go/", "a\x00b.go", "/link/a.go"} {
		if path, err := s.Keep(t.Context(), host, node); err == nil {
			t.Errorf("%q is kept as %s", node, path)
		}
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
}

func TestReadOfTheHost(t *testing.T) {
	dir := t.TempDir()
	s := &Files{downloads: NewDownloads()}
	for _, share := range []string{`\\evil\share\a.go`, `//evil/share/a.go`, `\/evil/a.go`, `\\.\pipe\x`} {
		if !s.IsOnHost(share) { // else it has been looked at
			t.Errorf("%s was looked at", share)
		}
	}
	if s.IsOnHost(dir) || s.IsOnHost(filepath.Join(dir, "none.go")) || s.IsOnHost("") {
		t.Error("what is no file is a file")
	}
	large := filepath.Join(dir, "large.go")
	if err := os.WriteFile(large, make([]byte, maxSourceSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), large, "x"); err == nil || !s.IsOnHost(large) {
		t.Errorf("%d bytes were read", maxSourceSize+1)
	}
}
