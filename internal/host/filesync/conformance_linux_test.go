package filesync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/host/remote/remotetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// bothWays runs a test with a mirror that sends all files whole, and with one that sends
// by rsync whatever it can.
func bothWays(t *testing.T, f func(t *testing.T, m *filesync.Mirror, dir, top string)) {
	t.Run("whole", func(t *testing.T) {
		m, dir, top := newMirror(t)
		f(t, m, dir, top)
	})
	t.Run("rsync", func(t *testing.T) {
		if _, err := rsync.Find(t.Context()); err != nil {
			testenv.Skipf(t, "%v", err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		m, dir, top := newMirror(t)
		m.Deltas, m.MinDeltaSize = &rsync.Transfer{Self: self, Node: remotetest.Local{}, Top: top}, 1
		f(t, m, dir, top)
	})
}

// describeAll describes each path of a tree: mode, time, and content or target.
func describeAll(dir string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		below, what := path[len(dir)+1:], fmt.Sprint(info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			what += " to " + target
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" of %v: %s", info.ModTime(), text)
		}
		all[below] = what
		return nil
	})
	return all, err
}

// differingPaths returns up to ten paths at which two trees differ, or an error's text.
func differingPaths(a, b string) []string {
	inA, errA := describeAll(a)
	inB, errB := describeAll(b)
	if err := errors.Join(errA, errB); err != nil {
		return []string{err.Error()}
	}
	var paths []string
	for p := range inA {
		if inA[p] != inB[p] {
			paths = append(paths, p)
		}
	}
	for p := range inB {
		if _, ok := inA[p]; !ok {
			paths = append(paths, p)
		}
	}
	return paths[:min(len(paths), 10)]
}

func checkEqualTrees(t *testing.T, a, b string) {
	t.Helper()
	if paths := differingPaths(a, b); len(paths) > 0 {
		t.Errorf("the trees differ at %q", paths)
	}
}

// follower copies what a watcher reports.
type follower struct {
	m        *filesync.Mirror
	w        *filesync.Watcher
	dir, top string
	sum      filesync.Report
}

// settle copies changes until the trees are equal.
func (f *follower) settle(t *testing.T, after string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		b, err := f.w.Next(ctx)
		if err != nil {
			t.Fatalf("after %s these differ: %q (%+v)", after, differingPaths(f.dir, f.top), f.sum)
		}
		var r filesync.Report
		if b.FullScan != "" {
			r, err = f.m.SyncAll(ctx, false)
		} else {
			r, err = f.m.SyncBatch(ctx, b)
		}
		if err != nil || r.NoDeltas != "" {
			t.Fatalf("after %s: %v, %s", after, err, r.NoDeltas)
		}
		f.sum.Deltas += r.Deltas
		f.sum.Saved += r.Saved
		f.sum.Failed, f.sum.Kept = append(f.sum.Failed, r.Failed...), append(f.sum.Kept, r.Kept...)
		if len(differingPaths(f.dir, f.top)) == 0 {
			return
		}
	}
}

// TestConformance makes the node's tree follow each kind of change, both ways.
func TestConformance(t *testing.T) {
	testenv.SkipShort(t, "it takes long")
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		for i := range 50 {
			testenv.WriteFile(t, filepath.Join(dir, fmt.Sprintf("d%d/f%d", i%5, i)), fmt.Sprint("file ", i))
		}
		testenv.WriteFile(t, filepath.Join(dir, "sub/f"), "first")
		w, err := filesync.Watch(filesync.WatchConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		f := &follower{m: m, w: w, dir: dir, top: top}
		f.settle(t, "the start")
		for _, c := range changes(t, dir) {
			c.do()
			f.settle(t, c.name)
		}
		if len(f.sum.Failed)+len(f.sum.Kept) > 0 {
			t.Errorf("failed: %v, kept: %v", f.sum.Failed, f.sum.Kept)
		}
		if rsync := m.Deltas != nil; rsync != (f.sum.Deltas > 40) || rsync != (f.sum.Saved > 50<<20) {
			t.Errorf("with rsync: %v, but %d files were sent as differences, which saved %d bytes", rsync, f.sum.Deltas, f.sum.Saved)
		}
	})
}

// churn changes files at random, until stop is closed.
func churn(name func(i int) string, text []byte, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		switch at := name(rand.IntN(16)); n % 4 {
		case 0:
			_ = os.WriteFile(at, fmt.Append(nil, n, string(text)), 0o644)
		case 1:
			_ = os.Truncate(at, rand.Int64N(1<<20))
		case 2:
			_ = os.Remove(at)
		case 3:
			_ = os.Remove(at)
			_ = os.Symlink("f0", at)
			_ = os.Remove(at)
			_ = os.Mkdir(at, 0o755)
			_ = os.Remove(at)
			_ = os.WriteFile(at, text, 0o600)
		}
	}
}

// TestChangesWhileSent checks that the trees are equal in the end although files change,
// vanish and become something else while they are sent.
func TestChangesWhileSent(t *testing.T) {
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		name := func(i int) string { return filepath.Join(dir, fmt.Sprint("f", i)) }
		text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		for i := range 16 {
			writeOld(t, name(i), string(text))
		}
		syncAll(t, m)
		for round := range 2 {
			for i := range 16 {
				testenv.WriteFile(t, name(i), fmt.Sprint(round, string(text)))
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { churn(name, text, stop) })
			_, err := m.SyncAll(t.Context(), false)
			close(stop)
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // what was written shortly before is sent again
				syncAll(t, m)
			}
			checkEqualTrees(t, dir, top)
		}
	})
}

// TestEditedOnTheNode checks that a large file that was edited there is kept, even if
// rsync has used it.
func TestEditedOnTheNode(t *testing.T) {
	large := strings.Repeat("line\n", 1<<20)
	force := func(t *testing.T, m *filesync.Mirror) filesync.Report {
		t.Helper()
		r, err := m.SyncAll(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		onHost, onNode := filepath.Join(dir, "large"), filepath.Join(top, "large")
		writeOld(t, onHost, large)
		force(t, m)
		writeOld(t, onHost, large+"the host's")
		writeOld(t, onNode, large+"the node's")
		checkKept(t, force(t, m), large+"the node's")
		checkContent(t, onNode, large+"the host's")

		// The same edit on both sides.
		writeOld(t, onHost, large+"the same")
		testenv.WriteFile(t, onNode, large+"the same")
		if r := force(t, m); len(r.Kept) != 0 {
			t.Errorf("kept: %v", r.Kept)
		}
		checkEqualTrees(t, dir, top)

		// A link in its place, which leads out of the tree.
		outside := filepath.Join(filepath.Dir(top), "outside")
		writeOld(t, outside, large)
		os.Remove(onNode)
		if err := os.Symlink(outside, onNode); err != nil {
			t.Fatal(err)
		}
		writeOld(t, onHost, large+"the last")
		checkKept(t, force(t, m), large) // read through the kept link
		checkContent(t, outside, large)
		checkEqualTrees(t, dir, top)
	})
}

// TestNodeRecreated checks that files are sent whole to a node that has lost what was
// copied there.
func TestNodeRecreated(t *testing.T) {
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		writeOld(t, filepath.Join(dir, "d/f"), "first")
		writeOld(t, filepath.Join(dir, "d/g"), "first")
		syncAll(t, m)
		os.RemoveAll(filepath.Join(top, "d"))
		if err := os.Mkdir(filepath.Join(top, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "d/g"))
		if r := syncAll(t, m); r.Files != 1 || r.Deltas != 0 {
			t.Errorf("%d files sent, %d of them as differences, want 1 and 0", r.Files, r.Deltas)
		}
		checkEqualTrees(t, dir, top)
	})
}
