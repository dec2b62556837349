package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestRequestsOutOfOrder(t *testing.T) {
	n := newNode(t)
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.expectRefusal(i.request("threads", ""), "threads", "no session yet")
	i.expectRefusal(i.request("attach", "{}"), "attach", "send initialize first")
	i.initialize()
	i.expectRefusal(i.request("initialize", initializeArgs), "initialize", "initialize has already been sent")
	i.expectRefusal(i.request("x-unknown", "[]"), "x-unknown", "no session yet")
	seq := i.request("launch", "{}")
	s := n.nextSession()
	s.accept()
	i.expect("event", "initialized")
	i.expectResponse(seq, "launch")
	i.expectRefusal(i.request("attach", "{}"), "attach", "attach only once")
	i.expectRefusal(i.request("initialize", initializeArgs), "initialize", "initialize has already been sent")
	i.roundTrip(s)
	if n.dials.Load() != 1 {
		t.Errorf("%d sessions were dialed", n.dials.Load())
	}
}

// What Delve would refuse is refused before the target is halted for it.
func TestInitializeThatDelveRefuses(t *testing.T) {
	n := newNode(t)
	i := serve(t, Config{Dialer: n}).dialIDE()
	for _, c := range []struct{ args, text string }{
		{`{"pathFormat":"URI"}`, `"URI" is not supported`},
		{`{"pathFormat":5}`, "read initialize"},
	} {
		i.expectRefusal(i.request("initialize", c.args), "initialize", c.text)
	}
	i.roundTrip(i.attach(n))
}

// Delve gets an initialize request with all defaults spelled out, and only formats that
// it accepts: the bridge converts the others.
func TestInitializeForDelve(t *testing.T) {
	for args, want := range map[string]string{
		"":   `{"columnsStartAt1":true,"linesStartAt1":true,"pathFormat":"path"}`,
		"{}": `{"columnsStartAt1":true,"linesStartAt1":true,"pathFormat":"path"}`,
		`{"clientID":"x", "linesStartAt1":null,"x":[1e3]}`: `{"columnsStartAt1":true,"pathFormat":"path","clientID":"x", "linesStartAt1":true,"x":[1e3]}`,
		initializeArgs: initializeArgs,
		`{"linesStartAt1":false,"columnsStartAt1":false,"pathFormat":"uri"}`: `{"linesStartAt1":true,"columnsStartAt1":true,"pathFormat":"path"}`,
	} {
		t.Run(args, func(t *testing.T) {
			n := newNode(t)
			i := serve(t, Config{Dialer: n}).dialIDE()
			i.expectResponse(i.request("initialize", args), "initialize")
			i.request("attach", "{}")
			if got := n.nextSession().expect("request", "initialize"); string(got.Arguments) != want {
				t.Errorf("Delve gets\n%s, want\n%s", got.Arguments, want)
			}
		})
	}
}

// Invalid messages of an IDE are not relayed.
func TestOnlyRequestsPassFromTheIDE(t *testing.T) {
	_, i, s := serveSession(t, Config{})
	for _, raw := range []string{
		`{"seq":50,"type":"response","request_seq":1,"success":true,"command":"runInTerminal","body":{"processId":1}}`,
		`{"seq":51,"type":"event","event":"stopped"}`,
		`{"seq":52,"type":"x"}`,
		`{}`,
	} {
		i.send(raw)
	}
	i.roundTrip(s)
}

// Client names come from a peer and are escaped for display.
func TestClientName(t *testing.T) {
	for args, want := range map[string]string{
		`{"clientName":"GoLand","clientID":"x"}`: "GoLand",
		`{"clientID":"emacs"}`:                   "emacs",
		`{"clientId":"neovim"}`:                  "neovim",
		`{}`:                                     "an IDE",
		`{"clientName":"\u001b[31mred\u202e"}`:   `\x1b[31mred\u202e`,
		`{"clientName":"` + strings.Repeat("x", 1000) + `"}`: strings.Repeat("x", 64),
	} {
		t.Run(want, func(t *testing.T) {
			n := newNode(t)
			srv := serve(t, Config{Dialer: n, Takeover: true})
			first, second := srv.dialIDE(), srv.dialIDE()
			first.attach(n)
			second.expectResponse(second.request("initialize", args), "initialize")
			second.request("attach", "{}")
			first.expectConsole("dapbridge: " + want + " (" + second.conn.LocalAddr().String() + ") takes over the session\n")
			n.nextSession().accept()
		})
	}
}

// waysToLeave returns the ways in which an IDE's connection can end.
func waysToLeave() map[string]func(srv *testServer, i ide) {
	return map[string]func(srv *testServer, i ide){
		"close": func(_ *testServer, i ide) { i.conn.Close() },
		"close in the middle of a message": func(_ *testServer, i ide) {
			i.sendBytes("Content-Length: 100\r\n\r\n{\"seq\":1,")
			i.conn.Close()
		},
		"close in the middle of a header": func(_ *testServer, i ide) {
			i.sendBytes("Content-Le")
			i.conn.Close()
		},
		"nonsense": func(_ *testServer, i ide) {
			i.sendBytes("Hello\r\n")
			i.readToEnd()
		},
		"disconnect": func(_ *testServer, i ide) {
			i.request("disconnect", `{"terminateDebuggee":false}`)
			if last := i.readToEnd(); parse(i.t, last).Event != "terminated" {
				i.t.Errorf("the last message is %s", last)
			}
		},
		"context": func(srv *testServer, i ide) { srv.cancel() },
	}
}

// Whatever ends a session, its End is called once, the slot is free after it,
// and Serve returns.
func TestEndsOfASession(t *testing.T) {
	for name, leave := range waysToLeave() {
		t.Run(name, func(t *testing.T) {
			srv, i, s := serveSession(t, Config{})
			i.request("threads", "")
			s.expect("request", "threads") // never answered
			leave(srv, i)
			s.waitEnded()
			s.expectEnd()
			if name != "context" {
				other := srv.dialIDE()
				other.roundTrip(other.attach(s.node))
			}
			srv.stop()
			if s.ends.Load() != 1 {
				t.Errorf("End was called %d times", s.ends.Load())
			}
		})
	}
}

// The same before there is a session: nothing may be left on the node.
func TestEndsOfAnAttach(t *testing.T) {
	for _, during := range []struct {
		name string
		dial func(ctx context.Context) error
		ends bool
	}{
		{"Dial gives up", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, false},
		{"Dial succeeds nevertheless", func(ctx context.Context) error { <-ctx.Done(); return nil }, true},
	} {
		// attach starts an attach and ends the connection during it.
		attach := func(n *scriptedNode, srv *testServer, leave func(*testServer, ide)) {
			dialing := make(chan struct{}, 1)
			n.dial = func(ctx context.Context) error {
				if n.dials.Load() > 1 {
					return nil
				}
				dialing <- struct{}{}
				return during.dial(ctx)
			}
			i := srv.dialIDE()
			i.initialize()
			i.request("attach", "{}")
			<-dialing
			i.request("threads", "") // goes to the backlog
			i.request("configurationDone", "")
			leave(srv, i)
			if during.ends {
				n.nextSession().waitEnded()
			}
		}
		for name, leave := range waysToLeave() {
			t.Run(during.name+", "+name, func(t *testing.T) {
				n := newNode(t)
				attach(n, serve(t, Config{Dialer: n}), leave)
			})
			if name == "context" {
				continue
			}
			t.Run(during.name+", "+name+", another comes", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t)
					srv := servePiped(t, Config{Dialer: n})
					attach(n, srv, leave)
					synctest.Wait()
					other := srv.dialIDE()
					other.roundTrip(other.attach(n))
				})
			})
		}
	}
}

func TestEndsWithoutASession(t *testing.T) {
	for name, leave := range waysToLeave() {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, Config{Dialer: newNode(t)})
			for _, initialized := range []bool{false, true} {
				i := srv.dialIDE()
				if initialized {
					i.initialize()
				}
				if name == "context" && !initialized {
					continue
				}
				leave(srv, i)
			}
		})
	}
}

func TestNodeEndsTheSession(t *testing.T) {
	lost := diag.Errorf(diag.LinkLost, "the connection to the node was lost\x1b[2J")
	for _, c := range []struct {
		name string
		end  error
		line string
	}{
		{"without a reason", nil, "the node ended the session"},
		{"with a reason", errors.New("the target exited with status 2"), "the target exited with status 2"},
		{"with a remedy", lost, `the connection to the node was lost\x1b[2J (` + diag.Hint(lost) + ")"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.end = func(context.Context) error { return c.end }
			srv := serve(t, Config{Dialer: n})
			i := srv.dialIDE()
			s := i.attach(n)
			s.event("exited", `{"exitCode":2}`)
			s.conn.Close()
			i.expect("event", "exited")
			i.expectConsole(c.line)
			i.expect("event", "terminated")
			s.waitEnded()
			// What an IDE may send after that.
			i.expectRefusal(i.request("threads", ""), "threads", "the session has ended")
			i.expectRefusal(i.request("attach", "{}"), "attach", "not allowed now")
			i.expectResponse(i.request("disconnect", ""), "disconnect")
			i.expectEnd()
			if s.ends.Load() != 1 {
				t.Errorf("End was called %d times", s.ends.Load())
			}
			other := srv.dialIDE()
			other.roundTrip(other.attach(n))
		})
	}
}

// The IDE gets one terminated event, after the reason that the node gives: an IDE does
// not show what comes after it.
func TestTerminatedOnce(t *testing.T) {
	n := newNode(t)
	n.end = func(context.Context) error { return errors.New("containerd has ended: pid 7") }
	srv := serve(t, Config{Dialer: n})
	i := srv.dialIDE()
	s := i.attach(n)
	s.event("terminated", "")
	i.expectConsole("containerd has ended: pid 7")
	i.expect("event", "terminated")
	i.expectResponse(i.request("disconnect", ""), "disconnect")
	i.expectEnd()
}

// If ending the session fails, that is reported once, and the session ends nevertheless.
func TestEndFails(t *testing.T) {
	n := newNode(t)
	n.end = func(context.Context) error { return diag.Errorf(diag.DetachFailed, "the target was not released") }
	srv := serve(t, Config{Dialer: n})
	i := srv.dialIDE()
	s := i.attach(n)
	seq := i.request("terminate", "")
	i.expectConsole("belongs to the node")
	i.expectConsole("the target was not released (")
	i.expectResponse(seq, "terminate")
	i.expect("event", "terminated")
	i.expectResponse(i.request("disconnect", ""), "disconnect")
	i.expectEnd()
	s.waitEnded()
	srv.waitForLog("level=ERROR", "the target was not released")

	srv.log.Take()
	i = srv.dialIDE()
	s = i.attach(n)
	i.conn.Close()
	s.waitEnded()
	srv.waitForLog("level=ERROR", "the target was not released")
}

// An IDE can neither terminate the target nor leave it halted.
func TestDisconnectOnlyDetaches(t *testing.T) {
	for _, c := range []struct {
		command, args string
		lines         []string
	}{
		{"disconnect", "", nil},
		{"disconnect", "{}", nil},
		{"disconnect", `{"restart":true,"terminateDebuggee":false}`, nil},
		{"disconnect", `{"terminateDebuggee":true}`, []string{"the target is not terminated"}},
		{"disconnect", `{"TerminateDebuggee":true}`, []string{"the target is not terminated"}},
		{"disconnect", `{"suspendDebuggee":true}`, []string{"the target is not left halted"}},
		{"disconnect", `{"terminateDebuggee":true,"suspendDebuggee":true}`, []string{"the target is not terminated", "the target is not left halted"}},
		{"terminate", "", []string{"the target is not terminated"}},
		{"terminate", `{"restart":false}`, []string{"the target is not terminated"}},
	} {
		t.Run(c.command+c.args, func(t *testing.T) {
			_, i, s := serveSession(t, Config{})
			seq := i.request(c.command, c.args)
			for _, line := range c.lines {
				i.expectConsole(line)
			}
			i.expectResponse(seq, c.command)
			i.expect("event", "terminated")
			s.expectEnd() // the request did not reach the node
			s.waitEnded()
			if c.command == "terminate" {
				i.expectResponse(i.request("disconnect", ""), "disconnect")
			}
			i.expectEnd()
		})
	}
}

// terminate during an attach cancels it, and the IDE learns of that first.
func TestTerminateDuringAnAttach(t *testing.T) {
	n := newNode(t)
	n.dial = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.initialize()
	attach, threads := i.request("attach", "{}"), i.request("threads", "")
	terminate := i.request("terminate", "")
	i.expectConsole("the target is not terminated")
	i.expectRefusal(attach, "attach", "the IDE ended the session")
	i.expectRefusal(threads, "threads", "the attach failed")
	i.expectResponse(terminate, "terminate")
	i.expect("event", "terminated")
	i.expectRefusal(i.request("attach", "{}"), "attach", "not allowed now")
}

// A node that hangs while it ends a session does not block Serve forever.
func TestEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.end = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		srv := servePiped(t, Config{Dialer: n})
		s := srv.dialIDE().attach(n)
		begin := time.Now()
		srv.cancel()
		<-s.ended
		if took := time.Since(begin); took != endTimeout {
			t.Errorf("it took %s", took)
		}
	})
}

// The last response is written before the connection is closed, but the bridge does not
// wait longer than drainTimeout for an IDE that does not read it.
func TestFinalResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		srv := servePiped(t, Config{Dialer: n})
		i := srv.dialIDE()
		s := i.attach(n)
		seq := i.request("disconnect", "")
		time.Sleep(drainTimeout / 2)
		i.expectResponse(seq, "disconnect")
		i.expect("event", "terminated")
		i.expectEnd()
		s.waitEnded()

		i = srv.dialIDE()
		i.attach(n)
		i.request("disconnect", "")
		time.Sleep(drainTimeout + time.Second)
		i.expectEnd()
	})
}

func TestBacklogIsBounded(t *testing.T) {
	n := newNode(t)
	n.dial = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	srv := serve(t, Config{Dialer: n})
	i := srv.dialIDE()
	i.initialize()
	i.request("attach", "{}")
	args := `"` + strings.Repeat("x", maxBacklog/8) + `"`
	for range 7 {
		i.request("x", args)
	}
	i.sendBytes(frameMessage(fmt.Sprintf(`{"seq":100,"type":"request","command":"x","arguments":%s}`, args)))
	i.expectEnd()
	srv.waitForLog("level=WARN", "requests before the attach finished", i.conn.LocalAddr().String())
}

// Delve would end the session over a request that is too large for it.
func TestLargeRequestsAreRefused(t *testing.T) {
	_, i, s := serveSession(t, Config{})
	message := func(n int) string {
		i.seq++
		head := fmt.Sprintf(`{"seq":%d,"type":"request","command":"evaluate","arguments":{"expression":"`, i.seq)
		return head + strings.Repeat("x", n-len(head)-3) + `"}}`
	}
	room := func() int { // the node's number may have more digits
		return delveMaxBody - len("99") + len(fmt.Sprint(i.seq+1))
	}
	i.send(message(delveMaxBody + 10))
	i.expectRefusal(i.seq, "evaluate", "Delve accepts at most 4194304")
	i.send(message(room() - 2))
	large := s.expect("request", "evaluate")
	if len(large.raw) > delveMaxBody || len(large.raw) < delveMaxBody-10 {
		t.Errorf("%d bytes passed", len(large.raw))
	}
	s.respond(large, "")
	i.expectResponse(i.seq, "evaluate")
	i.roundTrip(s)
}
