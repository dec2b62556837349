package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// slot is held by the one client that owns the debugger. Delve's own sharing
// does not share: a second client's breakpoints replace the first one's, and
// only one of them is told of stops.
type slot struct {
	mu     sync.Mutex
	holder *holder
}

// holder is a client in the slot.
type holder struct {
	name     string // for people: the IDE and its address
	since    time.Time
	conn     *connection // its own
	protocol Protocol
	evict    func(by string) // ends its session; called at most once, and must not wait

	isLeaving bool          // its session is ending; under the slot's mutex
	left      chan struct{} // closed when it has left
}

// slotGrace is how long a holder that does not leave is waited for: the
// connection of an IDE that has just gone may not have been seen to end.
const slotGrace = 300 * time.Millisecond

// acquire puts h into the slot. A holder that is leaving is waited for; another
// is evicted if takeover, else the error names it, after slotGrace.
func (s *slot) acquire(ctx context.Context, h *holder, takeover bool) error {
	h.left = make(chan struct{})
	grace := time.NewTimer(slotGrace)
	defer grace.Stop()
	for late := false; ; {
		s.mu.Lock()
		cur := s.holder
		if cur == nil {
			h.since = time.Now()
			s.holder = h
			s.mu.Unlock()
			return nil
		}
		switch {
		case cur.isLeaving:
		case takeover:
			cur.isLeaving = true
			cur.evict(h.name) // before it can have left
		case late:
			s.mu.Unlock()
			return diag.Errorf(diag.SessionBusy, "%s has the session since %s", cur.name, cur.since.Format(time.TimeOnly))
		}
		s.mu.Unlock()
		select {
		case <-cur.left:
		case <-grace.C:
			late = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave says that h's session is ending, so that others wait for it.
func (s *slot) leave(h *holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.isLeaving = true
}

// release empties the slot.
func (s *slot) release(h *holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == h {
		s.holder = nil
		close(h.left)
	}
}
