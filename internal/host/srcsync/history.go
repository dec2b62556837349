package srcsync

import (
	"context"
	"slices"
	"sync"
)

// RunRecord is a run of a [Syncer], or the reason why it cannot copy for now.
type RunRecord struct {
	Run     int     `json:"run"` // counts from 1
	Report  *Report `json:"report,omitempty"`
	Trouble string  `json:"trouble,omitempty"`
}

// history holds a Syncer's last runs. The zero value is ready for use. Its methods may be
// called from several goroutines.
type history struct {
	mu      sync.Mutex
	records []RunRecord
	lastRun int
	added   chan struct{} // closed when a run is added; nil if nobody waits
	closed  bool
}

// maxRecords is how many runs are kept. A caller of next that falls further behind misses
// runs.
const maxRecords = 64

// maxFilesNamed bounds each list of files in a kept run.
const maxFilesNamed = 100

// shorten returns a copy of the report with the first maxFilesNamed of each list of files.
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

// next blocks until there is a run after the given one, and returns the first of them. It
// returns ErrStopped once the history is closed and has no such run.
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

// close makes next return ErrStopped instead of blocking.
func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.wake()
}

// wake makes waiting calls of next check again. The caller holds the lock.
func (h *history) wake() {
	if h.added != nil {
		close(h.added)
		h.added = nil
	}
}
