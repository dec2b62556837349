package filesync

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// startWatcher watches dir and takes the first batch.
func startWatcher(t *testing.T, dir string) *Watcher {
	t.Helper()
	w, err := Watch(WatchConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	if b := nextBatch(t, w); b.FullScan == "" {
		t.Fatalf("first batch: %+v, want a full scan", b)
	}
	return w
}

// nextBatch fails the test if no batch comes within 5 seconds.
func nextBatch(t *testing.T, w *Watcher) Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	b, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("no batch: %v", err)
	}
	return b
}

// TestMissingWatchIsRepaired removes a watch, as a move at the wrong moment does: the
// next move restores it.
func TestMissingWatchIsRepaired(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w := startWatcher(t, dir)
	if err := w.notify.Remove(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(nextBatch(t, w).FullScan, "moved") {
	}
	testenv.WriteFile(t, filepath.Join(dir, "a", "b", "f"), "")
	if got := nextBatch(t, w).Paths; !slices.Equal(got, []string{"a/b/f"}) {
		t.Errorf("after the repair a batch holds %q, want a/b/f", got)
	}
}

// TestPendingFullScanHoldsNoPaths checks that no paths are kept in memory while a full
// scan is pending.
func TestPendingFullScanHoldsNoPaths(t *testing.T) {
	w := newBatcher(WatchConfig{})
	check := func(wantPaths int, wantFull bool) {
		t.Helper()
		if paths, full := w.Pending(); paths != wantPaths || full != wantFull {
			t.Errorf("pending: %d paths, full scan %v, want %d, %v", paths, full, wantPaths, wantFull)
		}
	}
	w.noteChange("before")
	check(1, false)
	w.RequestFullScan("the node is unreachable")
	w.noteChange("after")
	check(0, true)
	w.take()
	w.noteChange("then")
	check(1, false)
}

func TestRescanAfterRequestsFullScan(t *testing.T) {
	w := startWatcher(t, t.TempDir())
	w.RescanAfter(time.Millisecond)
	if b := nextBatch(t, w); b.FullScan == "" {
		t.Errorf("got %+v, want a full scan", b)
	}
}

func TestFullScanCancelsRescan(t *testing.T) {
	w := startWatcher(t, t.TempDir())
	w.RescanAfter(time.Hour)
	w.noteChange("a")
	nextBatch(t, w)
	if !w.rescan.Stop() {
		t.Error("a batch without a full scan has cancelled the rescan")
	}
	w.RescanAfter(time.Hour)
	w.RequestFullScan("another reason")
	nextBatch(t, w)
	if w.rescan.Stop() {
		t.Error("the rescan is still pending after a full scan")
	}
}

// newBatcher returns a watcher that watches nothing, for tests of its batches.
func newBatcher(cfg WatchConfig) *Watcher {
	return &Watcher{cfg: cfg, paths: map[string]bool{}, wake: make(chan struct{}, 1), rescan: newStoppedTimer()}
}

func TestBurstIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBatcher(WatchConfig{Quiet: 50 * time.Millisecond, MaxWait: 300 * time.Millisecond})
		go func() {
			for i := range 20 {
				w.noteChange(fmt.Sprint(i))
				time.Sleep(time.Millisecond)
			}
		}()
		if got := len(nextBatch(t, w).Paths); got != 20 {
			t.Errorf("the batch holds %d paths, want 20", got)
		}
	})
}

// TestStreamIsSeveralBatches checks that changes are not held back while more follow
// without end.
func TestStreamIsSeveralBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBatcher(WatchConfig{Quiet: 50 * time.Millisecond, MaxWait: 300 * time.Millisecond})
		start := time.Now()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for time.Since(start) < 1500*time.Millisecond {
				w.noteChange("stream")
				time.Sleep(7 * time.Millisecond)
			}
		})
		var batches int
		for time.Since(start) < 1500*time.Millisecond {
			nextBatch(t, w)
			batches++
		}
		if batches != 5 {
			t.Errorf("a stream of 1.5 s came in %d batches, want 5", batches)
		}
	})
}
