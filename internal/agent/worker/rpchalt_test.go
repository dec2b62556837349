//go:build linux

package worker

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestRPCHalt halts immediately after a continue, again and again, while other
// requests wait for the target.
func TestRPCHalt(t *testing.T) {
	r := serveTarget(t)
	c := rpc2.NewClientFromConn(r.conn)
	for n := range 100 {
		stopped := c.Continue()
		waiting := make(chan error, 1)
		if n%10 == 9 {
			for { // until the target runs
				state, err := c.GetStateNonBlocking()
				if err != nil {
					t.Fatal(err)
				}
				if state.Running {
					break
				}
			}
			go func() { _, err := c.ListSources("none"); waiting <- err }()
			if state, err := c.GetStateNonBlocking(); err != nil || !state.Running {
				t.Fatalf("round %d: %+v, %v", n, state, err)
			}
		} else {
			waiting <- nil
		}
		halted := make(chan error, 1)
		go func() { // the halt may overtake the continue: then the next halt ends it
			for {
				if state, err := c.Halt(); err != nil || state.Running {
					halted <- fmt.Errorf("halt: %+v, %v", state, err)
					return
				}
				select {
				case s := <-stopped:
					halted <- s.Err
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		if err := receive(t, halted); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, waiting); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRPCHaltAtBreakpoint halts at about the time when a breakpoint is hit: the next
// command continues from there nevertheless.
func TestRPCHaltAtBreakpoint(t *testing.T) {
	r := serveTarget(t)
	c := rpc2.NewClientFromConn(r.conn)
	if _, err := c.CreateBreakpoint(&api.Breakpoint{FunctionName: "main.count"}); err != nil {
		t.Fatal(err)
	}
	at := func(s *api.DebuggerState) string {
		v, err := c.EvalVariable(api.EvalScope{GoroutineID: -1}, "n", api.LoadConfig{})
		if err != nil || s.CurrentThread == nil {
			t.Fatalf("%+v, %v", s, err)
		}
		return fmt.Sprintf("n = %s at line %d", v.Value, s.CurrentThread.Line)
	}
	stops := 0
	for i := range testenv.Rounds(t, 30) {
		stopped := c.Continue()
		time.Sleep(time.Duration(i%30) * 100 * time.Microsecond)
		if _, err := c.Halt(); err != nil {
			t.Fatal(err)
		}
		s := receive(t, stopped)
		if s.CurrentThread == nil || s.CurrentThread.Breakpoint == nil {
			continue // the halt came first
		}
		stops++
		before, how, err := at(s), "continue", error(nil)
		if i%2 == 0 {
			s = receive(t, c.Continue()) // without a halt
		} else {
			how = "next"
			s, err = c.Next()
		}
		if err != nil {
			t.Fatal(err)
		}
		if after := at(s); after == before {
			t.Fatalf("stop %d, %s: %s goes nowhere", stops, before, how)
		}
	}
	if stops == 0 {
		t.Error("no breakpoint was hit")
	}
}

// TestRPCHaltBehindContinue sends both in one packet: the halt must end the continue
// that came before it.
func TestRPCHaltBehindContinue(t *testing.T) {
	r := serveTarget(t)
	for range testenv.Rounds(t, 10) {
		const both = `{"method":"RPCServer.Command","params":[{"name":"continue"}],"id":1}{"method":"RPCServer.Command","params":[{"name":"halt"}],"id":2}`
		if _, err := io.WriteString(r.conn, both); err != nil {
			t.Fatal(err)
		}
		r.conn.SetReadDeadline(time.Now().Add(testTimeout))
		answers := readAnswers(t, r.conn, 2)
		slices.Sort(answers)
		for n, id := range []string{`{"id":1,`, `{"id":2,`} {
			got := answers[n]
			if !strings.HasPrefix(got, id) {
				t.Fatalf("got %.300s, want %s…", got, id)
			}
			if !strings.HasSuffix(got, `"error":null}`) {
				t.Fatalf("got the error %.300s", got)
			}
			if strings.Contains(got, `"Running":true`) {
				t.Fatalf("the target runs: %.300s", got)
			}
		}
	}
}

// TestRPCStateBeforeContinue sends states and a continue in one packet: no state may
// wait for the stop of the continue.
func TestRPCStateBeforeContinue(t *testing.T) {
	const (
		states  = 30
		state   = `{"method":"RPCServer.State","params":[{"NonBlocking":true}],"id":1}`
		proceed = `{"method":"RPCServer.Command","params":[{"name":"continue"}],"id":2}`
		halt    = `{"method":"RPCServer.Command","params":[{"name":"halt"}],"id":3}`
	)
	r := serveTarget(t)
	for range testenv.Rounds(t, 10) {
		r.conn.SetDeadline(time.Now().Add(testTimeout))
		if _, err := io.WriteString(r.conn, strings.Repeat(state, states)+proceed); err != nil {
			t.Fatal(err)
		}
		for _, got := range readAnswers(t, r.conn, states) {
			if !strings.HasPrefix(got, `{"id":1,`) {
				t.Fatalf("got %.300s", got)
			}
		}
		if _, err := io.WriteString(r.conn, halt); err != nil {
			t.Fatal(err)
		}
		readAnswers(t, r.conn, 2)
	}
}

func readAnswers(t *testing.T, r io.Reader, n int) (lines []string) {
	t.Helper()
	var text strings.Builder
	for strings.Count(text.String(), "\n") < n {
		buf := make([]byte, 1<<16)
		got, err := r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(buf[:got])
	}
	return strings.Split(strings.TrimSpace(text.String()), "\n")
}
