package bridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// expectState checks the current session's state, and how long the target has been
// halted.
func (s *testServer) expectState(want SessionState, halted time.Duration) {
	s.t.Helper()
	synctest.Wait()
	st, ok := s.srv.Status()
	switch {
	case !ok && want != "", ok && st.State != want:
		s.t.Fatalf("the session is %+v, %v, want %q", st, ok, want)
	case want == Halted && (time.Since(st.Halted) != halted || !strings.Contains(st.Risk, "containerd has been halted for "+halted.String())):
		s.t.Fatalf("halted for %v: %+v", halted, st)
	case want != Halted && (!st.Halted.IsZero() || st.Risk != ""):
		s.t.Fatalf("not halted: %+v", st)
	}
}

// TestSessionStatus follows sessions of both protocols from start to end.
func TestSessionStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		release := blockEnd(n)
		srv := servePiped(t, Config{Dialer: n})
		srv.expectState("", 0)
		i := srv.dialIDE()
		if st, _, _ := new(haltWatch).snapshot(time.Now()); st != Attaching {
			t.Errorf("before the attach is done: %s", st)
		}
		began := time.Now()
		s := i.attach(n)
		time.Sleep(30 * time.Second)
		srv.expectState(Halted, 30*time.Second)
		i.request("continue", "")
		s.expect("request", "continue")
		srv.expectState(Running, 0)
		time.Sleep(time.Second)
		s.event("stopped", "")
		i.expect("event", "stopped")
		time.Sleep(2 * time.Second)
		srv.expectState(Halted, 2*time.Second)
		st, _ := srv.srv.Status()
		if st.Client != "Visual Studio Code (pipe)" || st.Process != "" {
			t.Errorf("the client is %q, process %q, want Visual Studio Code without a process", st.Client, st.Process)
		}
		if st.Protocol != DAP {
			t.Errorf("the protocol is %s, want DAP", st.Protocol)
		}
		if !st.Since.Equal(began) {
			t.Errorf("the session began at %v, want %v", st.Since, began)
		}
		seq := i.request("disconnect", "")
		srv.expectState(Ending, 0)
		close(release)
		i.expectBoth(seq)
		i.expectEnd()
		srv.expectState("", 0)

		_, s = attachRPC(srv.dialRPC(), n)
		srv.expectState(Halted, 0)
		if st, _ := srv.srv.Status(); st.Protocol != RPC || !strings.HasPrefix(st.Client, "a Delve client") {
			t.Errorf("%+v", st)
		}
		srv.stop()
		s.waitEnded()
	})
}
