//go:build linux

package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// A busy target dies of a careless detach: of signals that the debugger left pending,
// of breakpoints that are hit while they are being removed, of injected calls that
// have nowhere to return to.

// neverBreakpoint is a conditional breakpoint in the busiest line that never stops.
func (b *busy) neverBreakpoint() dap.SourceBreakpoint {
	return dap.SourceBreakpoint{Line: b.line("hot"), Condition: "i < 0"}
}

func TestDetachWithAHotCondition(t *testing.T) {
	detachOften(t, func(ctx context.Context, sess *session, b *busy) {
		sess.setBreakpoints(ctx, b.neverBreakpoint())
		b.mustBeat(5 * time.Second)
	})
}

func TestDetachWithAHotLogpoint(t *testing.T) {
	detachOften(t, func(ctx context.Context, sess *session, b *busy) {
		sess.setBreakpoints(ctx, dap.SourceBreakpoint{Line: b.line("hot"), LogMessage: "{worker} and {i}"})
		if _, err := sess.WaitEvent(ctx, "output", func(raw json.RawMessage) bool { return bytes.Contains(raw, []byte(" and ")) }); err != nil {
			t.Fatal(err)
		}
	})
}

// detachOften runs several sessions on one target, which end while do's request is in
// progress, half of them by the daemon and half by the client.
func detachOften(t *testing.T, do func(context.Context, *session, *busy)) {
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	for i := range testenv.Rounds(t, 8) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		sess := s.start(ctx, 0)
		do(ctx, sess, b)
		if i%2 == 0 {
			sess.end(ctx)
		} else {
			sess.Client.Close()
			s.waitEnded(ctx)
			b.mustBeFree()
		}
		cancel()
		if t.Failed() {
			t.Fatalf("at detach %d", i+1)
		}
	}
}

// An injected call that is halted in the called function is finished before the
// detach.
func TestDetachDuringAnInjectedCall(t *testing.T) {
	for _, how := range []string{"end", "client goes", "link ends"} {
		t.Run(how, func(t *testing.T) {
			ctx := shortContext(t)
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			sess := s.start(ctx, 0)
			stop := sess.stopAt(ctx, "slow: before")
			sess.haltInCall(ctx, stop)
			switch how {
			case "end":
				sess.end(ctx)
			case "client goes":
				sess.Client.Close()
				s.waitEnded(ctx)
			case "link ends":
				s.stdin.Close()
				s.waitExit(t, 10*time.Second)
			}
			b.mustBeFree()
			b.waitForNaps(b.naps.Load(), 1) // in the goroutine that made the call
		})
	}
}

// haltInCall evaluates a call of answer, which has a breakpoint.
func (sess *session) haltInCall(ctx context.Context, stop *dap.StoppedEventBody) {
	t := sess.s.t
	t.Helper()
	sess.setBreakpoints(ctx, dap.SourceBreakpoint{Line: sess.s.target.line("answer")})
	frames, _, err := sess.StackTrace(ctx, stop.ThreadId, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sess.Send("evaluate", map[string]any{"expression": "call answer(1)", "frameId": frames[0].Id, "context": "repl"}); err != nil {
		t.Fatal(err)
	}
	inCall, err := sess.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err = sess.StackTrace(ctx, inCall.ThreadId, 0, 2)
	if err != nil || len(frames) != 2 {
		t.Fatalf("halted at %+v, %v", frames, err)
	}
	testenv.Equal(t, "callee", frames[0].Name, "main.answer")
	if caller := frames[1].Name; !strings.HasPrefix(caller, "debugCall") {
		t.Fatalf("the caller is %s, not debugCall", caller)
	}
}

// An injected call that is running when the session ends is finished too.
func TestDetachWhileAnInjectedCallRuns(t *testing.T) {
	ctx := shortContext(t)
	b := startBusy(t)
	s := startSupervisor(t, b, config{})
	sess := s.start(ctx, 0)
	stop := sess.stopAt(ctx, "slow: before")
	frames, _, err := sess.StackTrace(ctx, stop.ThreadId, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	sess.setBreakpoints(ctx)
	before := b.naps.Load()
	if _, err := sess.Send("evaluate", map[string]any{"expression": "call slow()", "frameId": frames[0].Id, "context": "repl"}); err != nil {
		t.Fatal(err)
	}
	b.mustBeat(5 * time.Second) // the call lets all goroutines run
	sess.end(ctx)
	b.waitForNaps(before, 2) // after the injected call, and after the goroutine's own
}

func TestDetachInTheMiddleOfNext(t *testing.T) {
	for _, how := range []string{"end", "client goes"} {
		t.Run(how, func(t *testing.T) {
			ctx := shortContext(t)
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			sess := s.start(ctx, 0)
			stop := sess.stopAt(ctx, "slow: before")
			if err := sess.Next(ctx, stop.ThreadId); err != nil {
				t.Fatal(err)
			}
			if _, err := sess.WaitStopped(ctx); err != nil {
				t.Fatal(err)
			}
			if err := sess.Next(ctx, stop.ThreadId); err != nil { // over a second's sleep
				t.Fatal(err)
			}
			b.mustBeat(5 * time.Second)
			if how == "end" {
				sess.end(ctx)
			} else {
				sess.Client.Close()
				s.waitEnded(ctx)
				b.mustBeFree()
			}
			b.waitForNaps(b.naps.Load(), 1) // past the line where the step would have ended
		})
	}
}

// The client's last request is in progress when its connection ends: it must have no
// effect after the session's end, and must not delay it.
func TestDetachAfterALastRequest(t *testing.T) {
	testenv.SkipShort(t, "it takes long")
	for name, last := range map[string]struct {
		halted  bool
		command string
		args    func(b *busy, stop *dap.StoppedEventBody) any
	}{
		"continue": {true, "continue", func(_ *busy, stop *dap.StoppedEventBody) any {
			return map[string]any{"threadId": stop.ThreadId}
		}},
		"next": {true, "next", func(_ *busy, stop *dap.StoppedEventBody) any {
			return map[string]any{"threadId": stop.ThreadId}
		}},
		"stepIn": {true, "stepIn", func(_ *busy, stop *dap.StoppedEventBody) any {
			return map[string]any{"threadId": stop.ThreadId}
		}},
		"pause": {false, "pause", func(*busy, *dap.StoppedEventBody) any {
			return map[string]any{"threadId": 1}
		}},
		"cold breakpoint": {false, "setBreakpoints", func(b *busy, _ *dap.StoppedEventBody) any {
			return map[string]any{"source": dap.Source{Path: program.source}, "breakpoints": []dap.SourceBreakpoint{{Line: b.line("answer")}}}
		}},
		"hot breakpoint": {false, "setBreakpoints", func(b *busy, _ *dap.StoppedEventBody) any {
			return map[string]any{"source": dap.Source{Path: program.source}, "breakpoints": []dap.SourceBreakpoint{{Line: b.line("hot")}}}
		}},
		"call": {true, "evaluate", func(_ *busy, stop *dap.StoppedEventBody) any {
			return map[string]any{"expression": "call answer(1)", "context": "repl"}
		}},
		"half a message": {false, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBusy(t)
			s := startSupervisor(t, b, config{})
			for i := range testenv.Rounds(t, 4) {
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				sess := s.start(ctx, 0)
				stop := &dap.StoppedEventBody{}
				if last.halted {
					stop = sess.stopAt(ctx, "hot")
				}
				if last.args == nil {
					sess.SendRaw([]byte("Content-Length: 500\r\n\r\n{"))
				} else if _, err := sess.Send(last.command, last.args(b, stop)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(i/2) * 2 * time.Millisecond) // a different moment in each round
				if i%2 == 0 {
					sess.Client.Close()
					s.waitEnded(ctx)
					b.mustBeFree()
				} else {
					sess.end(ctx)
				}
				cancel()
			}
		})
	}
}

// A target that keeps starting threads is attached to with all of them: a missed one
// would die at the first breakpoint, and the target with it.
func TestAttachWhileThreadsBegin(t *testing.T) {
	b := startBusy(t)
	b.send("threads")
	s := startSupervisor(t, b, config{})
	for i := range testenv.Rounds(t, 5) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		sess, err := s.open(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if missed, err := procfs.FindUntracedThreads(b.pid()); err != nil || len(missed) > 0 {
			t.Fatalf("attach %d has missed the threads %v (%v)", i, missed, err)
		}
		if _, err := sess.Attach(ctx, dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		sess.setBreakpoints(ctx, b.neverBreakpoint())
		b.mustBeat(5 * time.Second)
		sess.end(ctx)
		cancel()
	}
}
