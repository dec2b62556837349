package filesync

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Batch is a set of changes in the host's tree.
type Batch struct {
	// FullScan is the reason why the entire trees must be compared: more may have changed
	// than Paths lists. It is empty if Paths is complete.
	FullScan string
	// Paths lists where something has changed, appeared or vanished, sorted as by
	// [tree.Compare]. It is empty if FullScan is set. It includes everything below a
	// directory that has appeared, but not necessarily what has vanished with one.
	Paths []string
	// Ignored holds those of Paths where there is now an entry that is not copied, although
	// an earlier entry may have been.
	Ignored map[string]bool
}

// Next blocks until a batch is complete and returns it. Changes that follow go to the
// next one.
func (w *Watcher) Next(ctx context.Context) (Batch, error) {
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
		for {
			wait := w.untilDue()
			if wait <= 0 {
				return w.take(), nil
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				w.signal() // the batch is still pending
				return Batch{}, ctx.Err()
			}
		}
	}
}

// RequestFullScan makes the next batch ask for a full scan, for example after a failure
// that left the state of the node unknown.
func (w *Watcher) RequestFullScan(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.FullScan == "" {
		w.pending.FullScan = reason
		clear(w.paths)
	}
	w.touch()
}

// RescanAfter requests a full scan after d, to retry paths that could not be copied. It
// replaces an earlier call, and is cancelled when Next returns a batch that asks for a
// full scan anyway.
func (w *Watcher) RescanAfter(d time.Duration) { w.rescan.Reset(d) }

// Pending returns how many paths the next batch holds so far, and whether it asks for
// a full scan.
func (w *Watcher) Pending() (paths int, fullScan bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.paths), w.pending.FullScan != ""
}

func (w *Watcher) untilDue() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	quiet, latest := w.last.Add(w.cfg.Quiet), w.first.Add(w.cfg.MaxWait)
	if latest.Before(quiet) {
		return time.Until(latest)
	}
	return time.Until(quiet)
}

func (w *Watcher) take() Batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.pending
	b.Paths = slices.SortedFunc(maps.Keys(w.paths), tree.Compare)
	maps.DeleteFunc(w.paths, func(_ string, ignored bool) bool { return !ignored })
	b.Ignored = w.paths
	w.pending, w.paths, w.first = Batch{}, map[string]bool{}, time.Time{}
	if b.FullScan != "" {
		w.rescan.Stop()
	}
	select {
	case <-w.wake: // signalled for what has just been taken
	default:
	}
	return b
}

// noteChange adds a path to the next batch.
func (w *Watcher) noteChange(path string) { w.note(path, false) }

func (w *Watcher) note(path string, ignored bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A full scan needs no paths, and they would pile up until somebody runs it.
	if w.pending.FullScan == "" {
		w.paths[path] = ignored
	}
	w.touch()
}

// touch marks the next batch as changed now. The caller holds mu.
func (w *Watcher) touch() {
	w.last = time.Now()
	if w.first.IsZero() {
		w.first = w.last
	}
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
