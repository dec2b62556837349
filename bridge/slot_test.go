package bridge

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestSecondIDEIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		srv := servePiped(t, Config{Dialer: n})
		first, second := srv.dialIDE(), srv.dialIDE()
		s := first.attach(n)
		since := time.Now().Format(time.TimeOnly)
		time.Sleep(30 * time.Second)
		second.initialize()
		second.expectRefusal(second.request("attach", "{}"), "attach", "Visual Studio Code (", ") has held the session since "+since, "--takeover")
		first.roundTrip(s)
		first.disconnect()
		seq := second.request("attach", "{}")
		s = n.nextSession()
		s.accept()
		second.expect("event", "initialized")
		second.expectResponse(seq, "attach")
		second.roundTrip(s)
	})
}

func TestSecondIDEGetsTheAddress(t *testing.T) {
	n := newNode(t)
	srv := serve(t, Config{Dialer: n})
	first, second := srv.dialIDE(), srv.dialIDE()
	first.attach(n)
	second.initialize()
	seq := second.request("attach", "{}")
	m := second.expect("response", "attach")
	want := regexp.MustCompile(`^Visual Studio Code \(` + regexp.QuoteMeta(first.conn.LocalAddr().String()) + `\) has held the session since \d\d:\d\d:\d\d \(.*--takeover\)$`)
	if *m.RequestSeq != seq || !want.MatchString(m.Message) {
		t.Errorf("got %s", m.raw)
	}
}

// blockEnd makes End of n's sessions wait until release is closed.
func blockEnd(n *scriptedNode) (release chan struct{}) {
	release = make(chan struct{})
	n.end = func(context.Context) error { <-release; return nil }
	return release
}

func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		release := blockEnd(n)
		srv := servePiped(t, Config{Dialer: n, Takeover: true})
		first, second := srv.dialIDE(), srv.dialIDE()
		s := first.attach(n)
		second.initialize()
		seq := second.request("attach", "{}")
		first.expectConsole("Visual Studio Code (pipe) takes over the session")
		synctest.Wait()
		if s.ends.Load() != 1 || n.dials.Load() != 1 {
			t.Fatalf("while the first session ends: %d ends, %d sessions", s.ends.Load(), n.dials.Load())
		}
		disconnect := first.request("disconnect", "") // answered once the session has ended
		first.expectSilence(time.Second)
		close(release)
		first.expectBoth(disconnect)
		first.expectEnd()
		next := n.nextSession()
		s.waitEnded()
		next.accept()
		second.expect("event", "initialized")
		second.expectResponse(seq, "attach")
		second.roundTrip(next)

		if s.ends.Load() != 1 || next.ends.Load() != 0 {
			t.Errorf("%d and %d ends", s.ends.Load(), next.ends.Load())
		}
	})
}

// A client that has lost the session may stay connected, and its disconnect has no
// effect on the new session.
func TestPreemptedIDE(t *testing.T) {
	n := newNode(t)
	srv := serve(t, Config{Dialer: n, Takeover: true})
	first, second := srv.dialIDE(), srv.dialIDE()
	s := first.attach(n)
	next := second.attach(n)
	s.waitEnded()
	first.expectConsole("Visual Studio Code (" + second.conn.LocalAddr().String() + ") takes over the session")
	first.expect("event", "terminated")
	first.expectRefusal(first.request("threads", ""), "threads", "the session has ended")
	first.expectRefusal(first.request("attach", "{}"), "attach", "not allowed now")
	first.expectResponse(first.request("disconnect", ""), "disconnect")
	first.expectEnd()
	second.roundTrip(next)
	if s.ends.Load() != 1 || next.ends.Load() != 0 {
		t.Errorf("%d and %d ends", s.ends.Load(), next.ends.Load())
	}
}

// expectBoth expects the terminated event and the response to disconnect, in any order.
func (w *wire) expectBoth(disconnect int) {
	w.t.Helper()
	a, b := parse(w.t, w.next()), parse(w.t, w.next())
	if a.Event != "terminated" {
		a, b = b, a
	}
	if a.Event != "terminated" || b.Command != "disconnect" {
		w.t.Fatalf("got %s and %s, want the event terminated and the response to disconnect", a.raw, b.raw)
	}
	w.checkResponse(b, disconnect, true)
}

// Clients that take over at the same time do so one after the other.
func TestTakeoverOfATakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		srv := servePiped(t, Config{Dialer: n, Takeover: true})
		sessions := []*nodeSession{srv.dialIDE().attach(n)}
		for range 5 {
			i := srv.dialIDE()
			i.initialize()
			i.request("attach", "{}")
		}
		synctest.Wait()
		if n.dials.Load() != 6 {
			t.Errorf("%d sessions", n.dials.Load())
		}
		for range 5 {
			sessions = append(sessions, n.nextSession())
		}
		for k, s := range sessions {
			if want := int32(1 - k/5); s.ends.Load() != want { // all but the last
				t.Errorf("session %d: %d ends", k, s.ends.Load())
			}
		}
	})
}

// An IDE that is restarted comes back while its old session still ends.
func TestAttachWhileAnotherEnds(t *testing.T) {
	for name, leave := range map[string]func(i ide){
		"disconnect": func(i ide) { i.request("disconnect", "") },
		"close":      func(i ide) { i.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				release := blockEnd(n)
				srv := servePiped(t, Config{Dialer: n})
				first, second := srv.dialIDE(), srv.dialIDE()
				s := first.attach(n)
				second.initialize()
				leave(first)
				synctest.Wait()
				seq := second.request("attach", "{}")
				synctest.Wait()
				if s.ends.Load() != 1 || n.dials.Load() != 1 {
					t.Fatalf("%d ends, %d sessions", s.ends.Load(), n.dials.Load())
				}
				close(release)
				next := n.nextSession()
				s.waitEnded()
				next.accept()
				second.expect("event", "initialized")
				second.expectResponse(seq, "attach")
				second.roundTrip(next)
			})
		})
	}
}

// The same while the old IDE's attach is being canceled.
func TestAttachWhileAnotherIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		takeover bool
		leave    func(i ide)
	}{
		"disconnect": {false, func(i ide) { i.request("disconnect", "") }},
		"close":      {false, func(i ide) { i.conn.Close() }},
		"takeover":   {true, func(i ide) {}},
	} {
		for _, err := range []error{nil, context.Canceled} {
			t.Run(fmt.Sprint(name, ", Dial returns ", err), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t)
					release := make(chan struct{})
					n.dial = func(ctx context.Context) error {
						if n.dials.Load() > 1 {
							return nil
						}
						<-ctx.Done() // Dial needs a while to leave the target as it was
						<-release
						return err
					}
					srv := servePiped(t, Config{Dialer: n, Takeover: c.takeover})
					first, second := srv.dialIDE(), srv.dialIDE()
					first.initialize()
					attach := first.request("attach", "{}")
					second.initialize()
					c.leave(first)
					synctest.Wait()
					seq := second.request("attach", "{}")
					synctest.Wait()
					if n.dials.Load() != 1 {
						t.Fatal("two sessions at once")
					}
					close(release)
					if err == nil {
						n.nextSession().waitEnded()
					}
					next := n.nextSession()
					next.accept()
					second.expect("event", "initialized")
					second.expectResponse(seq, "attach")
					second.roundTrip(next)
					if name == "takeover" {
						first.expectConsole("takes over the session")
						first.expectRefusal(attach, "attach", "Visual Studio Code (pipe) took over the session")
						first.expectResponse(first.request("disconnect", ""), "disconnect")
					}
				})
			})
		}
	}
}

// An IDE that waits for the slot may close its connection, or disconnect.
func TestWaitForTheSlotEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		release := blockEnd(n)
		srv := servePiped(t, Config{Dialer: n, Takeover: true})
		first := srv.dialIDE()
		s := first.attach(n)
		first.request("disconnect", "")
		goes, disconnects, stays := srv.dialIDE(), srv.dialIDE(), srv.dialIDE()
		for _, i := range []ide{goes, disconnects, stays} {
			i.initialize()
			i.request("attach", "{}")
		}
		synctest.Wait()
		goes.conn.Close()
		seq := disconnects.request("disconnect", "")
		disconnects.expectRefusal(2, "attach", "the IDE ended the session")
		disconnects.expectResponse(seq, "disconnect")
		synctest.Wait()
		close(release)
		next := n.nextSession()
		s.waitEnded()
		next.accept()
		stays.expect("event", "initialized")
		stays.expectResponse(2, "attach")
		stays.roundTrip(next)
		if n.dials.Load() != 2 {
			t.Errorf("%d sessions", n.dials.Load())
		}
	})
}

func TestSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slot
		evicted := 0
		a := &holder{name: "a", evict: func(by string) {
			evicted++
			if by != "c" {
				t.Errorf("evicted by %s", by)
			}
		}}
		b, c, d := &holder{name: "b"}, &holder{name: "c"}, &holder{name: "d"}
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.acquire(ctx, a, false); err != nil {
			t.Fatal(err)
		}
		if err := s.acquire(ctx, b, false); diag.CodeOf(err) != diag.SessionBusy {
			t.Errorf("error %v", err)
		}
		s.release(b) // was never in it
		results := make(chan error, 2)
		go func() { results <- s.acquire(ctx, c, true) }()
		synctest.Wait()
		go func() { results <- s.acquire(t.Context(), d, true) }()
		synctest.Wait()
		cancel()
		if err := <-results; err != context.Canceled {
			t.Errorf("error %v", err)
		}
		s.leave(a)
		s.release(a)
		if err := <-results; err != nil {
			t.Errorf("acquire: %v", err)
		}
		if s.holder != d {
			t.Errorf("%v has the slot, want d", s.holder)
		}
		if evicted != 1 {
			t.Errorf("%d evictions, want 1", evicted)
		}
		s.release(a) // a second time
		s.release(d)
		if err := s.acquire(t.Context(), &holder{}, false); err != nil {
			t.Error(err)
		}
	})
}

// An IDE that closes its connection and reconnects at once is not refused because of
// its own old session.
func TestIDEComesBackAtOnce(t *testing.T) {
	n := newNode(t)
	s := serve(t, Config{Dialer: n})
	for range 200 {
		i := s.dialIDE()
		i.attach(n)
		i.conn.Close()
	}
}
