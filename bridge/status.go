package bridge

import (
	"time"

	"github.com/dapbridge/dapbridge/internal/host/peer"
)

// SessionState is the state of a session.
type SessionState string

// The states of a session.
const (
	Attaching SessionState = "attaching"
	Running   SessionState = "running" // the target runs under the debugger
	Halted    SessionState = "halted"
	Ending    SessionState = "ending"
)

// SessionStatus describes the current session. Whether the target is halted is
// inferred from the relayed messages.
type SessionStatus struct {
	Client   string // the IDE and its address, for display
	Process  string // the client's process; "" if unknown
	Protocol Protocol
	Since    time.Time
	State    SessionState
	Halted   time.Time // since when; zero if the target is not halted
	Risk     string    // what the halt does to the node, one line
}

// Status returns the status of the current session, and false if there is none. It
// waits for nothing except the system's table of sockets.
func (s *Server) Status() (SessionStatus, bool) {
	s.slot.mu.Lock()
	h := s.slot.holder
	if h == nil {
		s.slot.mu.Unlock()
		return SessionStatus{}, false
	}
	st := SessionStatus{Client: h.name, Protocol: h.protocol, Since: h.since}
	st.State, st.Halted, st.Risk = h.conn.halts.snapshot(time.Now())
	s.slot.mu.Unlock()
	if p, ok := peer.Client(h.conn.conn); ok {
		st.Process = p.String()
	}
	return st, true
}

// snapshot returns the session's state at the time now.
func (h *haltWatch) snapshot(now time.Time) (s SessionState, since time.Time, risk string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.isStopped:
		return Ending, since, ""
	case !h.wasHalted:
		return Attaching, since, ""
	case h.timer == nil:
		return Running, since, ""
	}
	return Halted, h.since, haltLine(h.target, h.since, now)
}

// String returns the protocol's name for display.
func (p Protocol) String() string {
	if p == RPC {
		return "Delve's JSON-RPC"
	}
	return "DAP"
}
