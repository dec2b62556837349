package filesync

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Batch is what has changed.
type Batch struct {
	// Why is not empty if more may have changed than can be told: then the trees
	// are to be compared as a whole.
	FullScan string
	// Paths, without a Why, are those where something has changed, appeared or
	// vanished, sorted as by [tree.Compare]. Of a directory that has appeared its whole
	// content is among them. What has vanished from below one of them need not be.
	Paths []string
	// Ignored are those of Paths at which something stands that is not copied, though
	// what stood there before may have been.
	Ignored map[string]bool
}

// Next returns the next batch when it is whole. Meanwhile the one after it
// gathers.
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
				w.signal() // it is still pending
				return Batch{}, ctx.Err()
			}
		}
	}
}

// RequestFullScan has the next batch say that everything is to be compared: after a
// failure, when it is not known what the other side has.
func (w *Watcher) RequestFullScan(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.FullScan == "" {
		w.pending.FullScan = why
		clear(w.paths)
	}
	w.touch()
}

// Pending returns how many paths wait to be in a batch, and whether all is to be
// compared.
func (w *Watcher) Pending() (paths int, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.paths), w.pending.FullScan != ""
}

func (w *Watcher) untilDue() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	quiet, most := w.last.Add(w.cfg.Quiet), w.first.Add(w.cfg.MaxWait)
	if most.Before(quiet) {
		return time.Until(most)
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
	select {
	case <-w.wake: // of what has just been taken
	default:
	}
	return b
}

// noteChange notes a path.
func (w *Watcher) noteChange(path string) { w.note(path, false) }

func (w *Watcher) note(path string, ignored bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.FullScan == "" { // or all is to be compared anyway, however long nobody does
		w.paths[path] = ignored
	}
	w.touch()
}

// touch must be called with mu held.
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
