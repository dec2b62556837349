package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// slot is held by the one client that has the debugger. Delve's own multi-client mode
// does not help: a second client's breakpoints replace the first one's, and only one
// of them is notified when the target stops.
type slot struct {
	mu     sync.Mutex
	holder *holder
}

// holder is a client in the slot.
type holder struct {
	name     string // for display: the IDE and its address
	since    time.Time
	conn     *connection
	protocol Protocol
	evict    func(by string) // ends its session for another client; called at most once, must not block

	isLeaving bool          // its session is ending; under the slot's mutex
	left      chan struct{} // closed when it has left
}

// slotGrace is how long acquire waits for a holder that is not leaving: its IDE may
// have just disconnected without the bridge having noticed yet.
const slotGrace = 300 * time.Millisecond

// acquire puts h into the slot. It waits for a holder that is leaving. If takeover is
// set, it evicts a holder that is not; otherwise it fails after slotGrace.
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
			cur.evict(h.name) // with the lock held: it cannot have left yet
		case late:
			s.mu.Unlock()
			return diag.Errorf(diag.SessionBusy, "%s has held the session since %s", cur.name, cur.since.Format(time.TimeOnly))
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

// leave marks h as leaving, so that others wait for it.
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
