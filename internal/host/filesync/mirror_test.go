package filesync_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
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

// newMirror returns a mirror of dir to top, with a receiver for top.
func newMirror(t *testing.T) (m *filesync.Mirror, dir, top string) {
	t.Helper()
	dir, top = filepath.Join(t.TempDir(), "host"), filepath.Join(t.TempDir(), "node")
	for _, d := range []string{dir, top} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { makeWritable(d) })
	}
	m = &filesync.Mirror{Dir: dir}
	connect(t, m, top, top+".record")
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

// connect gives m a new receiver for top and a record.
func connect(t *testing.T, m *filesync.Mirror, top, record string) {
	t.Helper()
	nodeIn, hostOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	hostIn, nodeOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- receive.Serve(receive.Config{Top: top, Now: time.Now(), In: nodeIn, Out: nodeOut})
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
		if err := <-done; err != nil {
			t.Errorf("the receiver: %v", err)
		}
		for _, f := range []*os.File{nodeIn, hostIn} {
			f.Close()
		}
	})
}

// writeOld writes a file that was last modified an hour ago, so that its time tells
// whether it changes again.
func writeOld(t *testing.T, name, text string) {
	t.Helper()
	testenv.WriteFile(t, name, text)
	at := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// missing is the content of a file that does not exist.
const missing = "(missing)"

// content returns the content of a file, or missing.
func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		return missing
	}
	return string(text)
}

func checkContent(t *testing.T, name, want string) {
	t.Helper()
	if got := content(t, name); got != want {
		t.Errorf("%s holds %.100q, want %.100q", name, got, want)
	}
}

// checkKept checks that a run kept one file, with the given content.
func checkKept(t *testing.T, r filesync.Report, want string) {
	t.Helper()
	if len(r.Kept) != 1 {
		t.Errorf("kept %+v, want one file", r.Kept)
		return
	}
	checkContent(t, r.Kept[0].At, want)
}

// syncAll runs a full scan, which must succeed.
func syncAll(t *testing.T, m *filesync.Mirror) filesync.Report {
	t.Helper()
	r, err := m.SyncAll(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkCounts checks what a run has done, and that nothing failed or was kept.
func checkCounts(t *testing.T, r filesync.Report, files, removed int) {
	t.Helper()
	if r.Files != files || r.Removed != removed {
		t.Errorf("%d sent and %d removed, want %d and %d", r.Files, r.Removed, files, removed)
	}
	if len(r.Failed)+len(r.Kept) > 0 {
		t.Errorf("failed: %v, kept: %v", r.Failed, r.Kept)
	}
}

func TestSyncAll(t *testing.T) {
	m, dir, top := newMirror(t)
	writeOld(t, filepath.Join(dir, "a"), "1")
	writeOld(t, filepath.Join(dir, "d/b"), "2")
	writeOld(t, filepath.Join(dir, "d/bad\xff"), "3")
	testenv.WriteFile(t, filepath.Join(dir, "fresh"), "4")
	checkCounts(t, syncAll(t, m), 4, 0)

	// fresh may have been written again without a change of its time.
	r := syncAll(t, m)
	checkCounts(t, r, 1, 0)
	if r.Bytes != 1 || r.Others != 0 {
		t.Errorf("%d bytes and %d others, want 1 and 0", r.Bytes, r.Others)
	}
	writeOld(t, filepath.Join(dir, "fresh"), "5")
	checkCounts(t, syncAll(t, m), 1, 0)
	checkCounts(t, syncAll(t, m), 0, 0)

	t.Run("with the record of an earlier process", func(t *testing.T) {
		record := filepath.Join(t.TempDir(), "copy")
		testenv.WriteFile(t, record, content(t, top+".record")+`{"path":"torn`)
		later := &filesync.Mirror{Dir: dir}
		connect(t, later, top, record)
		checkCounts(t, syncAll(t, later), 0, 0)
	})
	t.Run("after changes on both sides", func(t *testing.T) {
		writeOld(t, filepath.Join(top, "a"), "edited")
		os.Remove(filepath.Join(top, "fresh"))
		testenv.WriteFile(t, filepath.Join(top, "d/theirs"), "theirs")
		os.Remove(filepath.Join(dir, "d/b"))
		os.Remove(filepath.Join(dir, "d/bad\xff"))
		r := syncAll(t, m)
		checkKept(t, r, "edited")
		r.Kept = nil
		checkCounts(t, r, 2, 2)
		if r.Others != 1 {
			t.Errorf("%d others, want 1", r.Others)
		}
	})
	t.Run("a removed directory stays if it holds others' files", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(dir, "d")); err != nil {
			t.Fatal(err)
		}
		checkCounts(t, syncAll(t, m), 0, 1)
		checkContent(t, filepath.Join(top, "d/theirs"), "theirs")
	})
	t.Run("what cannot be read is not removed", func(t *testing.T) {
		writeOld(t, filepath.Join(dir, "rules/f"), "x")
		checkCounts(t, syncAll(t, m), 1, 0)
		testenv.WriteFile(t, filepath.Join(dir, "rules/.gitignore"), strings.Repeat("x\n", 1<<20))
		if r := syncAll(t, m); len(r.Failed) != 1 || r.Removed != 0 {
			t.Errorf("%d removed, failed: %v, want rules alone to fail", r.Removed, r.Failed)
		}
		checkContent(t, filepath.Join(top, "rules/f"), "x")
	})
}

// TestForeignDirectoryIsRefused checks that nothing is written to a directory that is not
// a copy.
func TestForeignDirectoryIsRefused(t *testing.T) {
	m, dir, top := newMirror(t)
	writeOld(t, filepath.Join(dir, "d/f"), "host's")
	if err := os.MkdirAll(filepath.Join(top, "d/e"), 0o755); err != nil {
		t.Fatal(err)
	}
	checkRefused := func() {
		t.Helper()
		var foreign *filesync.ForeignError
		if _, err := m.SyncAll(t.Context(), false); !errors.As(err, &foreign) || foreign.Path != "d/f" {
			t.Errorf("got %v, want a ForeignError for d/f", err)
		}
	}
	writeOld(t, filepath.Join(top, "d/f"), "theirs")
	checkRefused()
	checkContent(t, filepath.Join(top, "d/f"), "theirs")

	r, err := m.SyncAll(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	checkKept(t, r, "theirs")

	// The node was recreated, and somebody put other files there: the record no longer
	// applies.
	os.RemoveAll(filepath.Join(top, "d"))
	writeOld(t, filepath.Join(top, "d/f"), "of another")
	checkRefused()
	os.RemoveAll(filepath.Join(top, "d"))
	checkCounts(t, syncAll(t, m), 1, 0)
}

// TestConnectionLostBeforeAnswer checks that the mirror recognises its own file if it
// arrived without an answer, and the earlier version if it did not arrive.
func TestConnectionLostBeforeAnswer(t *testing.T) {
	for name, arrived := range map[string]bool{"arrived": true, "not arrived": false} {
		t.Run(name, func(t *testing.T) {
			m, dir, top := newMirror(t)
			name := filepath.Join(dir, "f")
			writeOld(t, name, "first")
			syncAll(t, m)
			writeOld(t, name, "second")
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
			connect(t, m, top, top+".record")
			changes, _, err := m.Plan(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if (len(changes) == 0) != arrived {
				t.Errorf("plan: %+v", changes)
			}
			writeOld(t, name, "the third")
			checkCounts(t, syncAll(t, m), 1, 0)
			checkContent(t, filepath.Join(top, "f"), "the third")
		})
	}
}

// syncBatch copies a batch, which must succeed, and checks what it has done.
func syncBatch(t *testing.T, m *filesync.Mirror, files, removed int, paths ...string) {
	t.Helper()
	r, err := m.SyncBatch(t.Context(), filesync.Batch{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	checkCounts(t, r, files, removed)
}

// TestSyncBatch makes the changes that a batch names, and no others.
func TestSyncBatch(t *testing.T) {
	m, dir, _ := newMirror(t)
	for i := range 3 {
		writeOld(t, filepath.Join(dir, fmt.Sprint("d/", i)), "x")
	}
	syncAll(t, m)
	checkEqual := func() {
		t.Helper()
		if _, differ, err := m.Verify(t.Context()); err != nil || len(differ) != 0 {
			t.Errorf("%v, %v", differ, err)
		}
	}
	writeOld(t, filepath.Join(dir, "d/0"), "y") // of the same size
	syncBatch(t, m, 1, 0, "d/0", "d/never")
	checkEqual()
	os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e"))
	syncBatch(t, m, 3, 4, "d", "e", "e/0", "e/1", "e/2") // only the top of what has vanished
	checkEqual()
	os.RemoveAll(filepath.Join(dir, "e"))
	writeOld(t, filepath.Join(dir, "h/0"), "reached by a link")
	os.Symlink("h", filepath.Join(dir, "e"))
	syncBatch(t, m, 2, 3, "e", "e/0", "h", "h/0")
	checkEqual()
	os.RemoveAll(filepath.Join(dir, "h"))
	syncBatch(t, m, 0, 2, "h")
	os.Remove(filepath.Join(dir, "e"))
	os.MkdirAll(filepath.Join(dir, "e/f"), 0o755)
	syncBatch(t, m, 0, 0, "e", "e/f")
	checkEqual()
}

// TestVerify finds what a comparison of times does not.
func TestVerify(t *testing.T) {
	m, dir, top := newMirror(t)
	writeOld(t, filepath.Join(dir, "f"), "1")
	os.MkdirAll(filepath.Join(dir, "e/f"), 0o755)
	syncAll(t, m)
	info, err := os.Stat(filepath.Join(top, "f"))
	if err != nil {
		t.Fatal(err)
	}
	testenv.WriteFile(t, filepath.Join(top, "f"), "2")
	os.Chtimes(filepath.Join(top, "f"), info.ModTime(), info.ModTime())
	os.Mkdir(filepath.Join(dir, "only here"), 0o755)
	os.Chmod(filepath.Join(top, "e"), 0o700)
	os.Remove(filepath.Join(dir, "e/f"))
	files, differ, err := m.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if files != 1 {
		t.Errorf("%d files compared, want 1", files)
	}
	got := map[string]string{}
	for _, d := range differ {
		got[d.Path] = d.Reason
	}
	want := map[string]string{"e": "different mode", "e/f": "exists only on the node", "f": "different content", "only here": "missing on the node"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCheckDerivedDestination(t *testing.T) {
	for to, want := range map[string]diag.Code{
		"/go/src/containerd": "", "/home/me/a.b": "",
		"/home/me/.config/x": diag.SyncRefused, "/home/me/.ssh": diag.SyncRefused, "/.x/y": diag.SyncRefused,
		"/etc/x": diag.SyncRefused, "/a/../b": diag.SyncRefused, "a": diag.SyncRefused,
	} {
		checkCode(t, to, filesync.CheckDerivedDestination(to), want)
	}
}

func TestCheckDestination(t *testing.T) {
	for to, want := range map[string]struct{ plain, forced diag.Code }{
		"/go/src/x": {}, "/home/docker/x": {}, "/etcetera": {}, "/opt": {},
		"/": {diag.SyncRefused, diag.SyncRefused}, "x": {diag.SyncRefused, diag.SyncRefused}, "": {diag.SyncRefused, diag.SyncRefused},
		"/a/../etc": {diag.SyncRefused, diag.SyncRefused}, "/a/": {diag.SyncRefused, diag.SyncRefused},
		"/etc": {diag.SyncRefused, ""}, "/usr/src/x": {diag.SyncRefused, ""}, "/proc/1/root/x": {diag.SyncRefused, ""}, "/run/x": {diag.SyncRefused, ""},
	} {
		checkCode(t, to, filesync.CheckDestination(to, false), want.plain)
		checkCode(t, to+", forced", filesync.CheckDestination(to, true), want.forced)
	}
}

// checkCode checks the code of an error, "" for no error.
func checkCode(t *testing.T, what string, err error, want diag.Code) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && diag.CodeOf(err) != want:
		t.Errorf("%s: got %v, want code %s", what, err, want)
	}
}

// FuzzRecord checks that a record, whatever its file holds, is the same after it was
// rewritten.
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
		rewritten, err := filesync.ReadRecord(name)
		if err != nil {
			t.Fatal(err)
		}
		for p := range r.Paths() {
			want, _ := r.Get(p)
			got, ok := rewritten.Get(p)
			if !ok || got != want {
				t.Errorf("%q: got %+v, want %+v", p, got, want)
			}
			if want.Now.Kind == tree.Nothing && want.InFlight.Kind == tree.Nothing {
				t.Errorf("%q: an entry of nothing: %+v", p, want)
			}
		}
		for p := range rewritten.Paths() {
			if _, ok := r.Get(p); !ok {
				t.Errorf("%q is new", p)
			}
		}
	})
}
