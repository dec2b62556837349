package srcsync

import (
	"context"
	"slices"
	"sync"
)

// RunRecord is a run of a [Syncer], or why it cannot copy for now.
type RunRecord struct {
	Run     int     `json:"run"` // counts from 1
	Report  *Report `json:"report,omitempty"`
	Trouble string  `json:"trouble,omitempty"`
}

// history holds a Syncer's last runs for those who follow them. The zero value is
// ready for use.
type history struct {
	mu      sync.Mutex
	records []RunRecord
	lastRun int
	added   chan struct{} // closed when a run is added; made when it is needed
	closed  bool
}

// runsKept is how many runs are kept for a slow follower, who misses older ones.
const maxRecords = 64

// filesNamed is how many files of a kind a kept run names.
const maxFilesNamed = 100

// short returns the report with the first of the files that it names.
func (r Report) shorten() *Report {
	r.Kept, r.Failed = r.Kept[:min(len(r.Kept), maxFilesNamed)], r.Failed[:min(len(r.Failed), maxFilesNamed)]
	r.Kept, r.Failed = slices.Clone(r.Kept), slices.Clone(r.Failed)
	return &r
}

// add appends a run and returns its number.
func (h *history) add(r RunRecord) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastRun++
	r.Run = h.lastRun
	if h.records = append(h.records, r); len(h.records) > maxRecords {
		h.records = h.records[1:]
	}
	h.wake()
	return r.Run
}

// next waits for the first run after the given one. It may be called from several
// goroutines.
func (h *history) next(ctx context.Context, after int) (RunRecord, error) {
	for {
		h.mu.Lock()
		for _, r := range h.records {
			if r.Run > after {
				h.mu.Unlock()
				return r, nil
			}
		}
		if h.added == nil {
			h.added = make(chan struct{})
		}
		more, closed := h.added, h.closed
		h.mu.Unlock()
		if closed {
			return RunRecord{}, ErrStopped()
		}
		select {
		case <-more:
		case <-ctx.Done():
			return RunRecord{}, ctx.Err()
		}
	}
}

// close ends the waiting of those who wait, and of those who come later.
func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.wake()
}

// wake has all that wait check again. The caller holds the lock.
func (h *history) wake() {
	if h.added != nil {
		close(h.added)
		h.added = nil
	}
}
