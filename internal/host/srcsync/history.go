package daemon

import (
	"context"
	"slices"
	"sync"
)

// syncRuns are the last runs of a daemon's copying, for who follows it. The zero
// value is ready for use.
type syncRuns struct {
	mu     sync.Mutex
	last   []SyncNext
	run    int
	more   chan struct{} // closed when there is one more; made when it is needed
	closed bool
}

// runsKept is how many runs are kept for who is slow; the others he misses.
const runsKept = 64

// someFiles is how many files of a kind are named in a run that is kept.
const someFiles = 100

// short is the report without most of the files that it names, if it is one of many.
func (r SyncReport) short() *SyncReport {
	r.Kept, r.Failed = r.Kept[:min(len(r.Kept), someFiles)], r.Failed[:min(len(r.Failed), someFiles)]
	r.Kept, r.Failed = slices.Clone(r.Kept), slices.Clone(r.Failed)
	return &r
}

// add counts something that has happened, and returns its number.
func (s *syncRuns) add(n SyncNext) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run++
	n.Run = s.run
	if s.last = append(s.last, n); len(s.last) > runsKept {
		s.last = s.last[1:]
	}
	s.wake()
	return n.Run
}

// next waits for the first that comes after a run. It may be called by several
// goroutines.
func (s *syncRuns) next(ctx context.Context, after int) (SyncNext, error) {
	for {
		s.mu.Lock()
		for _, n := range s.last {
			if n.Run > after {
				s.mu.Unlock()
				return n, nil
			}
		}
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more, closed := s.more, s.closed
		s.mu.Unlock()
		if closed {
			return SyncNext{}, errNotSyncing()
		}
		select {
		case <-more:
		case <-ctx.Done():
			return SyncNext{}, ctx.Err()
		}
	}
}

// close ends the waiting of who waits, and of who comes later.
func (s *syncRuns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
}

// wake has who waits look again. The caller has the lock.
func (s *syncRuns) wake() {
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}
