package filesync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// followedTree is a tree whose copy follows what its watcher reports.
type followedTree struct {
	m        *filesync.Mirror
	w        *filesync.Watcher
	dir, top string
	log      testenv.Buffer
	batches  int
	failed   []filesync.PathProblem // in the last call of copyChanges
}

// follow copies a tree of the given files, each with its path as content, and of ignore
// rules for its top.
func follow(t *testing.T, interval time.Duration, rules string, files ...string) *followedTree {
	t.Helper()
	f := &followedTree{}
	f.m, f.dir, f.top = newMirror(t)
	if rules != "" {
		writeOld(t, filepath.Join(f.dir, ".gitignore"), rules)
	}
	for _, name := range files {
		writeOld(t, filepath.Join(f.dir, name), name)
	}
	var err error
	f.w, err = filesync.Watch(filesync.WatchConfig{Dir: f.dir, Interval: interval, Log: slog.New(slog.NewTextHandler(&f.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.w.Close() })
	if !f.copyUntil(t, func() bool { return f.batches > 0 }) {
		t.Fatal("no first batch")
	}
	return f
}

// copyChanges copies batches until none has come for the given time, and reports
// whether one came.
func (f *followedTree) copyChanges(t *testing.T, quiet time.Duration) (copied bool) {
	t.Helper()
	for f.failed = nil; ; copied = true {
		ctx, cancel := context.WithTimeout(t.Context(), quiet)
		b, err := f.w.Next(ctx)
		cancel()
		if err != nil {
			return copied
		}
		f.batches++
		var r filesync.Report
		if b.FullScan != "" {
			r, err = f.m.SyncAll(t.Context(), false)
		} else {
			r, err = f.m.SyncBatch(t.Context(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.failed = append(f.failed, r.Failed...)
	}
}

// copyUntil copies changes until the condition holds, and reports whether it did so
// within 5 seconds.
func (f *followedTree) copyUntil(t *testing.T, condition func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		f.copyChanges(t, 30*time.Millisecond)
		if condition() {
			return true
		}
	}
	return false
}

// settle copies changes until the copy is equal to the tree.
func (f *followedTree) settle(t *testing.T, after string) {
	t.Helper()
	var paths []string
	if !f.copyUntil(t, func() bool { paths = differingPaths(f.dir, f.top); return len(paths) == 0 }) {
		t.Errorf("after %s these differ: %q; failed: %v", after, paths, f.failed)
	}
}

// TestFollowSwap replaces a directory with another between two batches.
func TestFollowSwap(t *testing.T) {
	for name, script := range map[string]string{
		"a swap":            "mv vendor old && mv new vendor",
		"an empty one":      "mv vendor ../elsewhere && mkdir vendor",
		"a deeper swap":     "mv vendor/sub old && mv new vendor/sub",
		"a swap and a name": "mv vendor old && mv new vendor && mv old new",
	} {
		t.Run(name, func(t *testing.T) {
			f := follow(t, 0, "", "vendor/old.go", "vendor/sub/old.go", "new/new.go")
			shell(t, f.dir, script)
			f.settle(t, script)
		})
	}
}

// TestFollowAtRandom changes a small tree at random, in which each path is many things in turn.
func TestFollowAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	f := follow(t, 0, "")
	path := func() string {
		at := f.dir
		for range 1 + r.IntN(4) {
			at = filepath.Join(at, string(rune('a'+r.IntN(3))))
		}
		return at
	}
	for round := range testenv.Rounds(t, 40) {
		var log strings.Builder
		for range 1 + r.IntN(8) {
			p, q := path(), path()
			var err error
			switch n := r.IntN(9); n {
			case 0, 1:
				fmt.Fprintf(&log, "mkdir -p %s", p)
				err = os.MkdirAll(p, 0o755)
			case 2, 3, 4:
				fmt.Fprintf(&log, "write %s", p)
				_ = os.MkdirAll(filepath.Dir(p), 0o755)
				err = os.WriteFile(p, fmt.Append(nil, r.IntN(1000)), 0o644)
			case 5:
				fmt.Fprintf(&log, "rm -r %s", p)
				err = os.RemoveAll(p)
			case 6, 7:
				fmt.Fprintf(&log, "mv %s %s", p, q)
				err = os.Rename(p, q)
			case 8:
				fmt.Fprintf(&log, "ln -s b %s", p)
				err = os.Symlink("b", p)
			}
			fmt.Fprintf(&log, " (%v)\n", err)
			time.Sleep(time.Duration(r.IntN(2)*r.IntN(3000)) * time.Microsecond)
		}
		if f.settle(t, log.String()); t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// TestFollowRules removes the copy of a file when its path becomes ignored.
func TestFollowRules(t *testing.T) {
	for name, tt := range map[string]struct{ rules, file, script, gone string }{
		"an ignored directory": {"out/\n", "out", "rm out && mkdir out && echo x >out/x", "out"},
		"an ignored file":      {"*\n!*/\n!*.go\n!.gitignore\n", "key/a.go", "rm -r key && echo secret >key", "key"},
		"info/exclude":         {"", "secret", "mkdir -p .git/info && echo secret >.git/info/exclude", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			f := follow(t, 100*time.Millisecond, tt.rules, tt.file, "other")
			isGone := func() bool {
				_, err := os.Lstat(filepath.Join(f.top, tt.gone))
				return errors.Is(err, fs.ErrNotExist)
			}
			if isGone() {
				t.Fatal("it was not copied at first")
			}
			shell(t, f.dir, tt.script)
			if !f.copyUntil(t, isGone) {
				t.Error("the copy still exists")
			}
		})
	}
}

// TestFollowNewRules writes rules into directories right after they were created, and
// then files that the rules ignore: no batch names them.
func TestFollowNewRules(t *testing.T) {
	f := follow(t, 0, "")
	const dirs = 200
	for i := range dirs {
		d := filepath.Join(f.dir, fmt.Sprint("d", i))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Duration(rand.IntN(120)) * time.Microsecond); time.Now().Before(end); { // shorter than any sleep
		}
		testenv.WriteFile(t, filepath.Join(d, ".gitignore"), "ignored\n")
	}
	f.settle(t, "the new rules")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// On a busy machine full scans because of the rules may still follow: try again then.
	for attempt := 0; ; attempt++ {
		for i := range dirs {
			testenv.WriteFile(t, filepath.Join(f.dir, fmt.Sprint("d", i), "ignored"), fmt.Sprint(attempt))
		}
		testenv.WriteFile(t, filepath.Join(f.dir, "last"), fmt.Sprint(attempt))
		b, err := f.w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b.FullScan != "" {
			continue
		}
		if !slices.Equal(b.Paths, []string{"last"}) {
			t.Errorf("got a batch of %q, want only last", b.Paths)
		}
		return
	}
}

// TestFollowUnreadableRules makes an ignore file too long for a while: this is reported,
// and the file is read as soon as that is possible.
func TestFollowUnreadableRules(t *testing.T) {
	for where, isReported := range map[string]func(*followedTree) bool{
		".gitignore":   func(f *followedTree) bool { return strings.Contains(f.log.String(), "copying is paused") },
		"d/.gitignore": func(f *followedTree) bool { return len(f.failed) > 0 },
	} {
		t.Run(where, func(t *testing.T) {
			f := follow(t, 100*time.Millisecond, "", "d/f")
			// By a rename, so that the watcher does not read the rules while they are short.
			long := filepath.Join(t.TempDir(), "rules")
			testenv.WriteFile(t, long, strings.Repeat("x\n", 1<<20))
			if err := os.Rename(long, filepath.Join(f.dir, where)); err != nil {
				t.Fatal(err)
			}
			if !f.copyUntil(t, func() bool { return isReported(f) }) {
				t.Errorf("the unreadable rules are not reported; failed: %v, log: %s", f.failed, f.log.String())
			}
			testenv.WriteFile(t, filepath.Join(f.dir, where), "x\n")
			f.settle(t, "the rules of "+where)
			testenv.WriteFile(t, filepath.Join(f.dir, "d/f"), "after that")
			f.settle(t, "a save below "+where)
		})
	}
}

// TestDirectoriesNamedLikeEditorsFiles copies directories whose names are those of an
// editor's temporary files.
func TestDirectoriesNamedLikeEditorsFiles(t *testing.T) {
	m, dir, top := newMirror(t)
	for _, d := range []string{"4913", "5036", "backup~", ".x.swp", "#a#"} {
		writeOld(t, filepath.Join(dir, "testdata", d, "a.go"), d)
	}
	syncAll(t, m)
	checkEqualTrees(t, dir, top)
}

// TestRemoveBelowFile removes what cannot exist any more, since the same was done on the
// node as on the host.
func TestRemoveBelowFile(t *testing.T) {
	m, dir, top := newMirror(t)
	writeOld(t, filepath.Join(dir, "d/x"), "1")
	writeOld(t, filepath.Join(dir, "e"), "1")
	syncAll(t, m)
	for _, side := range []string{dir, top} {
		if err := os.RemoveAll(filepath.Join(side, "d")); err != nil {
			t.Fatal(err)
		}
		writeOld(t, filepath.Join(side, "d"), "a file")
	}
	if r := syncAll(t, m); len(r.Failed) > 0 {
		t.Errorf("failed: %v", r.Failed)
	}
}

// TestKeepPipe keeps what is neither a file nor a directory nor a link.
func TestKeepPipe(t *testing.T) {
	m, dir, top := newMirror(t)
	writeOld(t, filepath.Join(dir, "removed"), "1")
	syncAll(t, m)
	if err := errors.Join(os.Remove(filepath.Join(dir, "removed")), os.Remove(filepath.Join(top, "removed"))); err != nil {
		t.Fatal(err)
	}
	writeOld(t, filepath.Join(dir, "made"), "1")
	for _, name := range []string{"removed", "made"} {
		if err := syscall.Mkfifo(filepath.Join(top, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := syncAll(t, m); len(r.Kept) != 2 || len(r.Failed) > 0 {
		t.Errorf("kept: %v, failed: %v, want both pipes kept", r.Kept, r.Failed)
	}
}

// TestLongPath reports a path that is longer than the node accepts, and copies the rest.
func TestLongPath(t *testing.T) {
	m, dir, top := newMirror(t)
	at, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		name := strings.Repeat("d", 250)
		if err := at.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		below, err := at.OpenRoot(name)
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = below
	}
	at.Close()
	writeOld(t, filepath.Join(dir, "z"), "1")
	checkFailed := func(failed []filesync.PathProblem) {
		t.Helper()
		if len(failed) != 1 || !strings.Contains(failed[0].Reason, "the path is longer than") {
			t.Errorf("%d failed, want one with the reason", len(failed))
		}
	}
	checkFailed(syncAll(t, m).Failed)
	checkContent(t, filepath.Join(top, "z"), "1")
	r, err := m.SyncBatch(t.Context(), filesync.Batch{Paths: []string{strings.Repeat("d/", 2100) + "f"}})
	if err != nil {
		t.Fatal(err)
	}
	checkFailed(r.Failed)
}
