package bridge

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// newTestWatch returns a haltWatch and a buffer of its lines, each with the time since
// the call.
func newTestWatch(target string) (h *haltWatch, lines *testenv.Buffer) {
	lines = &testenv.Buffer{}
	begin := time.Now()
	return &haltWatch{target: target, notify: func(line string) { fmt.Fprintln(lines, time.Since(begin), line) }}, lines
}

func expectLines(t *testing.T, lines *testenv.Buffer, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := lines.Take(); got != strings.Join(append(want, ""), "\n") {
		t.Errorf("got the notes\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestHaltWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lines := newTestWatch("containerd")
		at := func(d time.Duration) string { return time.Now().Add(d).Format(time.TimeOnly) }
		timeout, notReady := at(2*time.Minute), at(3*time.Minute)
		h.markHalted()
		time.Sleep(59 * time.Second)
		expectLines(t, lines)
		h.markHalted() // again: the clock keeps running
		time.Sleep(3*time.Minute + 30*time.Second)
		expectLines(t, lines,
			"1m0s containerd has been halted for 1m0s. kubelet's calls to it time out after 2 minutes (the first at "+timeout+"), the node goes NotReady after 3 ("+notReady+").",
			"2m0s containerd has been halted for 2m0s. kubelet's calls to it are timing out and will be retried; the node goes NotReady at "+notReady+".",
			"3m0s containerd has been halted for 3m0s. kubelet's calls to it time out and the node is NotReady until it continues.",
			"4m0s containerd has been halted for 4m0s. kubelet's calls to it time out and the node is NotReady until it continues.",
		)

		h.markRunning()
		h.markRunning()
		time.Sleep(time.Hour)
		expectLines(t, lines)

		h.markHalted() // at 1h4m29s
		time.Sleep(30 * time.Second)
		h.markRunning()
		h.markHalted()
		time.Sleep(59 * time.Second)
		expectLines(t, lines)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := lines.Take(); !strings.HasPrefix(got, "1h5m59s containerd has been halted for 1m0s.") || strings.Count(got, "\n") != 1 {
			t.Errorf("got the note %q", got)
		}

		h.stop()
		h.markHalted() // after stop
		h.markRunning()
		h.markHalted()
		time.Sleep(time.Hour)
		expectLines(t, lines)
	})
}

func TestHaltWatchOfOtherTargets(t *testing.T) {
	for target, want := range map[string]string{
		"sample":  "1m0s sample has been halted for 1m0s. Requests to it may time out.",
		"kubelet": "1m0s kubelet has been halted for 1m0s. The node goes NotReady when the kubelet has not renewed its lease for 40 s.",
	} {
		synctest.Test(t, func(t *testing.T) {
			h, lines := newTestWatch(target)
			h.markHalted()
			time.Sleep(time.Minute)
			expectLines(t, lines, want)
			h.stop()
		})
	}
	for _, target := range []string{"dockerd", "cri-dockerd", "crio"} {
		if line := haltLine(target, time.Time{}, time.Time{}.Add(time.Minute)); !strings.Contains(line, "kubelet's calls to it time out after") {
			t.Errorf("%s: %s", target, line)
		}
	}
}

// expectSilence expects no message for d.
func (w *wire) expectSilence(d time.Duration) {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(d))
	if _, err := w.r.Peek(1); err == nil {
		w.t.Fatalf("got %s", w.next())
	}
}

// expectHaltLines expects, for a halt that begins now, the line of each minute.
func (w *wire) expectHaltLines(minutes int) {
	w.t.Helper()
	for k := range minutes {
		w.expectSilence(time.Minute - 1)
		w.expectConsole(fmt.Sprintf("containerd has been halted for %dm0s", k+1))
	}
}

// The watch runs from the attach, and whenever the target is halted.
func TestSessionReportsHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		i := servePiped(t, Config{Dialer: n}).dialIDE()
		s := i.attach(n)
		i.expectHaltLines(1)
		for _, command := range []string{"configurationDone", "continue", "next", "stepIn", "stepOut"} {
			i.request(command, "")
			s.expect("request", command)
			i.expectSilence(time.Hour)
			s.event("stopped", "") // also stopOnEntry's
			i.expect("event", "stopped")
			i.expectHaltLines(3)
		}
		for _, event := range []string{"continued", "exited"} {
			s.event(event, "")
			i.expect("event", event)
			i.expectSilence(time.Hour)
			s.event("stopped", "")
			i.expect("event", "stopped")
			i.expectHaltLines(1)
		}
	})
}

// Messages of a node whose session is ending do not start the watch again.
func TestNoHaltAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		var s *nodeSession
		n.end = func(context.Context) error {
			s.event("stopped", `{"reason":"pause"}`) // the node halts it to clear its breakpoints
			synctest.Wait()                          // until the event is relayed
			return nil
		}
		i := servePiped(t, Config{Dialer: n}).dialIDE()
		s = i.attach(n)
		seq := i.request("terminate", "")
		i.expectConsole("the target is not terminated")
		i.expect("event", "stopped")
		i.expectResponse(seq, "terminate")
		i.expect("event", "terminated")
		i.expectSilence(time.Hour)
	})
}

// For an IDE that does not read, neither lines nor goroutines pile up without bound.
func TestHaltsForAnIDEThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		srv := servePiped(t, Config{Dialer: n})
		s := srv.dialIDE().attach(n)
		time.Sleep(24 * time.Hour)
		srv.stop()
		s.waitEnded()
	})
}
