package filesync_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// mirror returns one of two directories, with a receiver for the second. They are
// as old as files are that nobody works on.
func mirror(t *testing.T) (m *filesync.Mirror, dir, top string) {
	t.Helper()
	dir, top = filepath.Join(t.TempDir(), "host"), filepath.Join(t.TempDir(), "node")
	for _, d := range []string{dir, top} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { makeWritable(d) })
	}
	m = &filesync.Mirror{Dir: dir}
	open(t, m, top, top+".record")
	return m, dir, top
}

// makeWritable lets a tree be removed by a user who is not root.
func makeWritable(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
}

// open gives m a receiver for top and a record.
func open(t *testing.T, m *filesync.Mirror, top, record string) {
	t.Helper()
	nodeIn, hostOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	hostIn, nodeOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- receive.Serve(receive.Config{Top: top, Now: time.Now(), In: nodeIn, Out: nodeOut})
		nodeOut.Close()
	}()
	if m.Client, err = receiver.Connect(hostIn, hostOut, func() { hostOut.Close() }); err != nil {
		t.Fatal(err)
	}
	if m.Record, err = filesync.OpenRecord(record, filesync.Copy{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Record.Close()
		hostOut.Close()
		if err := <-ended; err != nil {
			t.Errorf("the receiver: %v", err)
		}
		for _, f := range []*os.File{nodeIn, hostIn} {
			f.Close()
		}
	})
}

// aged writes a file as of an hour ago.
func aged(t *testing.T, name, text string) {
	t.Helper()
	testenv.WriteFile(t, name, text)
	at := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestWhole(t *testing.T) {
	m, dir, top := mirror(t)
	aged(t, filepath.Join(dir, "a"), "1")
	aged(t, filepath.Join(dir, "d/b"), "2")
	aged(t, filepath.Join(dir, "d/bad\xff"), "3")
	testenv.WriteFile(t, filepath.Join(dir, "fresh"), "4")
	run := func(files, removed int, kept ...string) filesync.Report {
		t.Helper()
		r, err := m.SyncAll(t.Context(), false)
		var got []string
		for _, k := range r.Kept {
			got = append(got, k.Path)
		}
		if err != nil || len(r.Failed) != 0 || r.Files != files || r.Removed != removed || !slices.Equal(got, kept) {
			t.Fatalf("%+v, %v, want %d sent, %d removed, %q kept", r, err, files, removed, kept)
		}
		return r
	}
	run(4, 0)
	run(1, 0) // fresh may have been written to again since
	if r := run(1, 0); r.Bytes != 1 || r.Others != 0 {
		t.Errorf("%+v", r)
	}
	aged(t, filepath.Join(dir, "fresh"), "5")
	run(1, 0)
	run(0, 0)

	// A host that has forgotten nothing goes on where it was.
	record := filepath.Join(t.TempDir(), "copy")
	text := content(t, top+".record")
	testenv.WriteFile(t, record, text+`{"path":"torn`)
	m.Record.Close()
	open(t, m, top, record)
	run(0, 0)

	// On the node: edited, removed, added; here: removed, edited with the same size
	// and time.
	aged(t, filepath.Join(top, "a"), "edited")
	os.Remove(filepath.Join(top, "fresh"))
	testenv.WriteFile(t, filepath.Join(top, "d/theirs"), "theirs")
	os.Remove(filepath.Join(dir, "d/b"))
	os.Remove(filepath.Join(dir, "d/bad\xff"))
	if r := run(2, 2, "a"); r.Others != 1 || content(t, r.Kept[0].At) != "edited" {
		t.Errorf("%+v", r)
	}
	// A directory goes with what was put there, and stays with what was not.
	if err := os.RemoveAll(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	run(0, 1)
	if content(t, filepath.Join(top, "d/theirs")) != "theirs" {
		t.Error("a file of the node's is gone")
	}
	// What can't be read here is not gone.
	aged(t, filepath.Join(dir, "rules/f"), "x")
	run(1, 0)
	testenv.WriteFile(t, filepath.Join(dir, "rules/.gitignore"), strings.Repeat("x\n", 1<<20))
	r, err := m.SyncAll(t.Context(), false)
	if err != nil || len(r.Failed) != 1 || r.Removed != 0 || content(t, filepath.Join(top, "rules/f")) != "x" {
		t.Errorf("%+v, %v", r, err)
	}
}

// content returns what is in a file, or "not there".
func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		return "not there"
	}
	return string(text)
}

// TestForeign writes to no directory that holds something else.
func TestForeign(t *testing.T) {
	m, dir, top := mirror(t)
	aged(t, filepath.Join(dir, "d/f"), "host's")
	if err := os.MkdirAll(filepath.Join(top, "d/e"), 0o755); err != nil {
		t.Fatal(err)
	}
	aged(t, filepath.Join(top, "d/f"), "theirs")
	if _, err := m.SyncAll(t.Context(), false); err == nil || !strings.Contains(err.Error(), "d/f") || content(t, filepath.Join(top, "d/f")) != "theirs" {
		t.Errorf("%v", err)
	}
	if r, err := m.SyncAll(t.Context(), true); err != nil || len(r.Kept) != 1 || content(t, r.Kept[0].At) != "theirs" {
		t.Errorf("%+v, %v", r, err)
	}
	// The node was made anew, and somebody has put other files there.
	os.RemoveAll(filepath.Join(top, "d"))
	aged(t, filepath.Join(top, "d/f"), "of another")
	if _, err := m.SyncAll(t.Context(), false); err == nil {
		t.Error("the record of another directory was believed")
	}
	os.RemoveAll(filepath.Join(top, "d"))
	if r, err := m.SyncAll(t.Context(), false); err != nil || r.Files != 1 {
		t.Errorf("an empty one: %+v, %v", r, err)
	}
}

// TestUnheard knows its own file again, of which it has not heard that it arrived,
// and the one before it, if it did not.
func TestUnheard(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		m, dir, top := mirror(t)
		name := filepath.Join(dir, "f")
		aged(t, name, "first")
		if _, err := m.SyncAll(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		aged(t, name, "second")
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		e, _ := tree.Lstat(root, "f")
		if err := m.Record.Intend(slices.Values([]tree.Entry{e})); err != nil {
			t.Fatal(err)
		}
		if arrived {
			testenv.WriteFile(t, filepath.Join(top, "f"), "second")
			os.Chtimes(filepath.Join(top, "f"), time.Unix(0, e.MTime), time.Unix(0, e.MTime))
		}
		m.Record.Close()
		open(t, m, top, top+".record")
		if changes, _, err := m.Plan(t.Context(), false); err != nil || (len(changes) == 0) != arrived {
			t.Errorf("arrived %v: %+v, %v", arrived, changes, err)
		}
		aged(t, name, "the third")
		if r, err := m.SyncAll(t.Context(), false); err != nil || r.Files != 1 || len(r.Kept) != 0 || content(t, filepath.Join(top, "f")) != "the third" {
			t.Errorf("arrived %v: %+v, %v", arrived, r, err)
		}
	}
}

// TestBatch does what a batch names, and no more.
func TestBatch(t *testing.T) {
	m, dir, top := mirror(t)
	for i := range 3 {
		aged(t, filepath.Join(dir, fmt.Sprint("d/", i)), "x")
	}
	if _, err := m.SyncAll(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	batch := func(files, removed int, paths ...string) {
		t.Helper()
		r, err := m.SyncBatch(t.Context(), filesync.Batch{Paths: paths})
		if err != nil || len(r.Failed) != 0 || r.Files != files || r.Removed != removed {
			t.Fatalf("%q: %+v, %v", paths, r, err)
		}
	}
	same := func() {
		t.Helper()
		if _, differ, err := m.Verify(t.Context()); err != nil || len(differ) != 0 {
			t.Errorf("%v, %v", differ, err)
		}
	}
	aged(t, filepath.Join(dir, "d/0"), "y") // of the same size
	batch(1, 0, "d/0", "d/never")
	same()
	os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")) // of what has gone, the top alone
	batch(3, 4, "d", "e", "e/0", "e/1", "e/2")
	same()
	os.RemoveAll(filepath.Join(dir, "e"))
	aged(t, filepath.Join(dir, "h/0"), "where a link leads to")
	os.Symlink("h", filepath.Join(dir, "e"))
	batch(2, 3, "e", "e/0", "h", "h/0")
	same()
	os.RemoveAll(filepath.Join(dir, "h"))
	batch(0, 2, "h")
	os.Remove(filepath.Join(dir, "e"))
	os.MkdirAll(filepath.Join(dir, "e/f"), 0o755)
	batch(0, 0, "e", "e/f")
	same()
	// Verify sees what a comparison of times does not.
	aged(t, filepath.Join(dir, "g"), "1")
	batch(1, 0, "g")
	info, _ := os.Stat(filepath.Join(top, "g"))
	testenv.WriteFile(t, filepath.Join(top, "g"), "2")
	os.Chtimes(filepath.Join(top, "g"), info.ModTime(), info.ModTime())
	os.Mkdir(filepath.Join(dir, "only here"), 0o755)
	os.Chmod(filepath.Join(top, "e"), 0o700)
	os.Remove(filepath.Join(dir, "e/f"))
	files, differ, err := m.Verify(t.Context())
	var paths []string
	for _, d := range differ {
		paths = append(paths, d.Path)
	}
	slices.Sort(paths)
	if err != nil || files != 1 || !slices.Equal(paths, []string{"e", "e/f", "g", "only here"}) {
		t.Errorf("%d, %v, %v", files, differ, err)
	}
}

func TestCheckDerived(t *testing.T) {
	for to, ok := range map[string]bool{
		"/go/src/containerd": true, "/home/me/a.b": true,
		"/home/me/.config/x": false, "/home/me/.ssh": false, "/.x/y": false, "/etc/x": false, "/a/../b": false, "a": false,
	} {
		if err := filesync.CheckDerivedDestination(to); (err == nil) != ok || err != nil && diag.CodeOf(err) != diag.SyncRefused {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestCheckDestination(t *testing.T) {
	for to, codes := range map[string][2]diag.Code{
		"/go/src/x": {}, "/home/docker/x": {}, "/etcetera": {}, "/opt": {},
		"/": {diag.SyncRefused, diag.SyncRefused}, "x": {diag.SyncRefused, diag.SyncRefused}, "": {diag.SyncRefused, diag.SyncRefused},
		"/a/../etc": {diag.SyncRefused, diag.SyncRefused}, "/a/": {diag.SyncRefused, diag.SyncRefused},
		"/etc": {diag.SyncRefused}, "/usr/src/x": {diag.SyncRefused}, "/proc/1/root/x": {diag.SyncRefused}, "/run/x": {diag.SyncRefused},
	} {
		for i, force := range []bool{false, true} {
			err := filesync.CheckDestination(to, force)
			if (err != nil) != (codes[i] != "") || err != nil && diag.CodeOf(err) != codes[i] {
				t.Errorf("%q, forced %v: %v", to, force, err)
			}
		}
	}
}

// FuzzRecord reads whatever a file holds, and the same after it was written anew.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("{\"path\":\"YQ==\",\"sent\":{\"kind\":1},\"now\":{\"kind\":1,\"size\":3},\"sure\":true}\n{}\nx\n{\"path\":\"/w==\",\"now\":{\"kind\":2}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "r")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := filesync.OpenRecord(name, filesync.Copy{Dir: "/d", To: "/t"})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		again, err := filesync.ReadRecord(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for p := range r.Paths() {
			n++
			was, _ := r.Get(p)
			if is, ok := again.Get(p); !ok || is != was || was.Now.Kind == tree.Nothing && was.InFlight.Kind == tree.Nothing {
				t.Errorf("%q: %+v, was %+v", p, is, was)
			}
		}
		for range again.Paths() {
			n--
		}
		if n != 0 {
			t.Errorf("%d more", -n)
		}
	})
}
