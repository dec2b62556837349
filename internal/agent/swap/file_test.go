//go:build linux

package swap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// TestCreateWhole checks that a file is created as announced, or not at all.
func TestCreateWhole(t *testing.T) {
	cut := errors.New("cut")
	for _, tt := range []struct {
		name string
		r    io.Reader
		size int64
		ok   bool
	}{
		{"whole", strings.NewReader("content"), 7, true},
		{"another", strings.NewReader("contend"), 7, false},
		{"longer", strings.NewReader("content and more"), 7, false},
		{"shorter", strings.NewReader("conten"), 7, false},
		{"cut", io.MultiReader(strings.NewReader("conten"), iotest.ErrReader(cut)), 7, false},
	} {
		path := filepath.Join(t.TempDir(), "x")
		err := createFile(path, tt.r, tt.size, sum("content"), nil)
		_, statErr := os.Lstat(path)
		if (err == nil) != tt.ok || (statErr == nil) != tt.ok {
			t.Errorf("%s: %v, and then %v", tt.name, err, statErr)
		}
	}
}

// TestCreateFull fills a disk.
func TestCreateFull(t *testing.T) {
	testenv.NeedsRoot(t, "it mounts a small disk")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		testenv.Skipf(t, "no disk can be mounted here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	big := bytes.Repeat([]byte("x"), 1<<20)
	path := filepath.Join(dir, "x")
	err := createFile(path, bytes.NewReader(big), int64(len(big)), sum(string(big)), nil)
	if diag.CodeOf(err) != diag.DeploySpace {
		t.Errorf("a full disk: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file is left: %v", err)
	}
	if why, err := findVolatility(dir); err != nil || !strings.Contains(why, "in memory") {
		t.Errorf("%q, %v", why, err)
	}
	if err := checkSpace(dir, 1); diag.CodeOf(err) != diag.DeploySpace {
		t.Errorf("room on a full disk: %v", err)
	}
}

// TestApply copies a file's attributes to another one.
func TestApply(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	when := time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(from, 0o4751); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(from, "user.test", []byte{0, 1, 2}, 0); err != nil {
		testenv.Skipf(t, "no extended attributes here: %v", err)
	}
	if err := os.Chtimes(from, when, when); err != nil {
		t.Fatal(err)
	}
	want, err := describeFile(from)
	if err != nil {
		t.Fatal(err)
	}
	err = createFile(to, strings.NewReader("content"), 7, want.SHA256, func(f *os.File) error {
		if err := want.apply(f); err != nil {
			return err
		}
		return os.Chtimes(to, time.Time{}, want.ModTime)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := describeFile(to)
	if err != nil || !got.matches(want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	testenv.Equal(t, "mode", got.Mode, 0o4751)
	testenv.Equal(t, "attribute", string(got.Xattrs["user.test"]), "\x00\x01\x02")
	for name, change := range map[string]func(*File){
		"content": func(f *File) { f.SHA256 = "x" }, "mode": func(f *File) { f.Mode = 0o755 }, "owner": func(f *File) { f.UID++ },
		"group": func(f *File) { f.GID++ }, "time": func(f *File) { f.ModTime = f.ModTime.Add(1) },
		"attributes": func(f *File) { f.Xattrs = nil },
	} {
		other := want
		if change(&other); other.matches(want) {
			t.Errorf("another %s is the same", name)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir, filepath.Join(dir, "none")} {
		if f, err := describeFile(path); err == nil {
			t.Errorf("%s: %+v", path, f)
		}
	}
}
