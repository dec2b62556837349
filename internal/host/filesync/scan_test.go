package filesync_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestScan(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2020, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for name, text := range map[string]string{".gitignore": "*.o\n", "a/f": "12345", "a.b": "", "a/x.o": "", "a/b/.gitignore": "!y.o\n", "a/b/y.o": "", ".git/HEAD": "", "bad/f": "", "bad/.gitignore": strings.Repeat("a\n", 1<<20)} {
		testenv.WriteFile(t, filepath.Join(dir, name), text)
	}
	if err := os.Chmod(filepath.Join(dir, "a/f"), 0o751|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "a/f"), at, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	m, problems, err := filesync.Scan(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range m {
		paths = append(paths, e.Path)
	}
	// A directory is followed by its content, even if another name sorts between them.
	if want := []string{".gitignore", "a", "a/b", "a/b/.gitignore", "a/b/y.o", "a/f", "a.b", "bad", "l"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
	if got, want := find(m, "a/f"), (tree.Entry{Path: "a/f", Kind: tree.File, Perm: 0o751, Size: 5, MTime: at.UnixNano()}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := find(m, "l"), (tree.Entry{Path: "l", Kind: tree.Link, Target: "/etc/passwd"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(problems) != 1 || problems[0].Path != "bad" {
		t.Errorf("problems: %v, want one of bad", problems)
	}
	if _, _, err := filesync.Scan(t.Context(), filepath.Join(dir, "nothing")); err == nil {
		t.Error("no error for a missing tree")
	}
}

func find(m tree.Manifest, path string) tree.Entry {
	e, _ := m.Find(path)
	return e
}
