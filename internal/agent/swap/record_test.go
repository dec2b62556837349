//go:build linux

package swap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// createRecord stores a file of the test as a unit's original.
func createRecord(t *testing.T, s store) *record {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon")
	if err := os.WriteFile(path, []byte("the original"), 0o755); err != nil {
		t.Fatal(err)
	}
	original, err := describeFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &record{Unit: "x.service", Path: path, Original: original, Argv: []string{path}}
	if err := s.create(r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStore(t *testing.T) {
	s, unlock, err := openStore(filepath.Join(t.TempDir(), "swap"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	// Left by a run that was interrupted while it copied the original.
	if err := os.MkdirAll(s.unitDir("x.service"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.originalPath("x.service"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := s.load("x.service"); r != nil || err != nil {
		t.Fatalf("a copy without a record: %+v, %v", r, err)
	}
	want := createRecord(t, s)
	got, err := s.load("x.service")
	if err != nil {
		t.Fatal(err)
	}
	if !got.Original.matches(want.Original) {
		t.Errorf("original %+v, want %+v", got.Original, want.Original)
	}
	testenv.Equal(t, "path", got.Path, want.Path)
	testenv.Equal(t, "stage", got.Stage, stageKept)
	testenv.Equal(t, "argv", got.Argv, want.Argv)
	if data, err := os.ReadFile(s.originalPath("x.service")); string(data) != "the original" {
		t.Errorf("kept %q, %v", data, err)
	}
	if all, err := s.loadAll(); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if err := s.delete("x.service"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.loadAll(); err != nil || len(all) != 0 {
		t.Errorf("forgotten: %v, %v", all, err)
	}
}

// TestStoreIsRoots refuses a directory to which somebody else could write an original.
func TestStoreIsRoots(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, unlock, err := openStore(dir); err == nil {
		unlock()
		t.Error("anybody can write there")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"stage":"kept","unit":"x.service","path":"/x"}`))
	f.Add([]byte(`{"version":2}`))
	s := store{f.TempDir()}
	if err := os.MkdirAll(s.unitDir("x.service"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(s.unitDir("x.service"), recordName), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := s.load("x.service"); err == nil && (r.Unit != "x.service" || !filepath.IsAbs(r.Path)) {
			t.Errorf("%+v", r)
		}
	})
}

// TestUndoSwap interrupts a swap at every moment.
func TestUndoSwap(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
	}{
		{"not begun", map[string]string{"daemon": "old"}},
		{"received", map[string]string{"daemon": "old", ".daemon.dapbridge-next": "new"}},
		{"renamed", map[string]string{"daemon": "new", ".daemon.dapbridge-prev": "old"}},
	} {
		dir := t.TempDir()
		for name, text := range tt.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		checkUndone(t, tt.name, dir)
	}
	dir := t.TempDir() // linked: both names are the old file
	if err := os.WriteFile(filepath.Join(dir, "daemon"), []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "daemon"), filepath.Join(dir, ".daemon.dapbridge-prev")); err != nil {
		t.Fatal(err)
	}
	checkUndone(t, "linked", dir)
}

func checkUndone(t *testing.T, name, dir string) {
	t.Helper()
	path := filepath.Join(dir, "daemon")
	if err := undoSwap(path); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if err := removeLeftovers(path); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	entries, err := os.ReadDir(dir)
	if data, _ := os.ReadFile(path); string(data) != "old" || len(entries) != 1 || err != nil {
		t.Errorf("%s: the file is %q, among %v (%v)", name, data, entries, err)
	}
}

func TestDropIn(t *testing.T) {
	root := t.TempDir()
	d := newDropIn(root, "x.service", "WatchdogSec=0")
	if err := d.write(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "x.service.d", "zz-dapbridge.conf")); err != nil || string(text) != d.Text {
		t.Errorf("%q, %v", text, err)
	}
	for i, want := range []bool{true, false} {
		if was, err := d.remove(); was != want || err != nil {
			t.Errorf("removal %d: %v, %v", i+1, was, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "x.service.d")); err == nil {
		t.Error("its directory is left")
	}
}
