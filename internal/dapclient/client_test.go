package dapclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the server's end of the connection, driven by the test.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	seq  int
}

func newPair(t *testing.T, opts ...Option) (*Client, *peer) {
	t.Helper()
	ours, theirs := net.Pipe()
	c := New(ours, opts...)
	t.Cleanup(func() { _, _ = c.Close(), theirs.Close() })
	return c, &peer{t: t, conn: theirs, r: bufio.NewReader(theirs)}
}

type request struct {
	Seq       int             `json:"seq"`
	Type      string          `json:"type"`
	Command   string          `json:"command"`
	Arguments json.RawMessage `json:"arguments"`
}

// expect reads the next request, which must be that command.
func (p *peer) expect(command string) request {
	p.t.Helper()
	raw, err := readFrame(p.r)
	if err != nil {
		p.t.Errorf("expect %s: %v", command, err)
		return request{}
	}
	var r request
	if err := json.Unmarshal(raw, &r); err != nil || r.Command != command || r.Type != "request" {
		p.t.Errorf("expect %s: got %s, %v", command, raw, err)
	}
	return r
}

// send sends a message with the next seq; format gives its other fields.
func (p *peer) send(format string, args ...any) {
	p.seq++
	p.raw(fmt.Sprintf(`{"seq":%d,`, p.seq) + fmt.Sprintf(format, args...) + "}")
}

func (p *peer) raw(message string) {
	_, _ = p.conn.Write(Frame([]byte(message))) // a client that has seen a violation may have closed the connection
}

func (p *peer) respond(r request, body string) {
	p.send(`"type":"response","request_seq":%d,"success":true,"command":%q,"body":%s`, r.Seq, r.Command, body)
}

func (p *peer) event(name, body string) { p.send(`"type":"event","event":%q,"body":%s`, name, body) }

func shortContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRequest(t *testing.T) {
	c, p := newPair(t)
	go func() {
		r := p.expect("evaluate")
		p.event("output", `{"output":"hi\n"}`)
		p.respond(r, `{"result":"1","variablesReference":7}`)
		r = p.expect("evaluate")
		p.send(`"type":"response","request_seq":%d,"success":false,"command":"evaluate","message":"Unable",
			"body":{"error":{"id":2009,"format":"no {what} here","variables":{"what":"symbol"}}}`, r.Seq)
		r = p.expect("pause")
		p.send(`"type":"response","request_seq":%d,"success":false,"command":"pause","message":"busy"`, r.Seq)
	}()
	value, ref, err := c.Evaluate(shortContext(t), 1000, "x", "watch")
	if err != nil || value != "1" || ref != 7 {
		t.Errorf("Evaluate = %q, %d, %v, want 1, 7", value, ref, err)
	}
	_, _, err = c.Evaluate(shortContext(t), 1000, "y", "watch")
	var refused *Error
	if !errors.As(err, &refused) || *refused != (Error{"evaluate", 2009, "no symbol here"}) {
		t.Errorf("got the error %v", err)
	}
	if err := c.Pause(shortContext(t), 1); err == nil || err.Error() != "pause refused: busy" {
		t.Errorf("got the error %v", err)
	}
	if c.Output() != "hi\n" {
		t.Errorf("output %q", c.Output())
	}
}

func TestPipelinedResponsesComeInAnyOrder(t *testing.T) {
	c, p := newPair(t)
	go func() {
		a, b := p.expect("a"), p.expect("b")
		p.respond(b, `"b"`)
		p.respond(a, `"a"`)
	}()
	var seqs []int
	for _, command := range []string{"a", "b"} {
		seq, err := c.Send(command, nil)
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, seq)
	}
	for i, want := range []string{`"a"`, `"b"`} {
		r, err := c.Wait(shortContext(t), seqs[i])
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Body) != want || r.RequestSeq != seqs[i] {
			t.Errorf("got %s for request %d, want %s for %d", r.Body, r.RequestSeq, want, seqs[i])
		}
		if !json.Valid(r.Raw) {
			t.Errorf("the raw response is not JSON: %s", r.Raw)
		}
	}
	if _, err := c.Wait(shortContext(t), 99); err == nil {
		t.Error("Wait for a request that was never sent succeeds")
	}
}

func TestEventsStayUntilTaken(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.event("thread", `{"n":1}`)
		p.event("output", `{"output":"a"}`)
		p.event("thread", `{"n":2}`)
	}()
	second := func(b json.RawMessage) bool { return strings.Contains(string(b), "2") }
	for _, step := range []struct {
		name  string
		match func(json.RawMessage) bool
		seq   int
	}{{"thread", second, 3}, {"output", nil, 2}, {"thread", nil, 1}} {
		e, err := c.WaitEvent(shortContext(t), step.name, step.match)
		if err != nil || e.Seq != step.seq {
			t.Errorf("%s: %+v, %v", step.name, e, err)
		}
	}
	if len(c.Events()) != 3 {
		t.Errorf("%d events", len(c.Events()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WaitEvent(ctx, "thread", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("took an event twice: %v", err)
	}
}

func TestViolations(t *testing.T) {
	const asked = `"type":"response","request_seq":1,"success":true,"command":"threads"`
	for name, tc := range map[string]struct {
		messages []string
		want     string
	}{
		"first seq":       {[]string{`{"seq":2,"type":"event","event":"x"}`}, "seq 2 after 0"},
		"seq again":       {[]string{`{"seq":1,"type":"event","event":"x"}`, `{"seq":1,"type":"event","event":"y"}`}, "seq 1 after 1"},
		"seq back":        {[]string{`{"seq":1,"type":"event","event":"x"}`, `{"seq":4,"type":"event","event":"x"}`, `{"seq":3,"type":"event","event":"y"}`}, "seq 3 after 4"},
		"other command":   {[]string{`{"seq":1,"type":"response","request_seq":1,"success":true,"command":"next"}`}, `request 1 was threads, its response says "next"`},
		"second response": {[]string{`{"seq":1,` + asked + `}`, `{"seq":2,` + asked + `}`}, "second response to threads (1)"},
		"no success":      {[]string{`{"seq":1,"type":"response","request_seq":1,"command":"threads"}`}, "response without success"},
		"no event name":   {[]string{`{"seq":1,"type":"event"}`}, "event without a name"},
		"no type":         {[]string{`{"seq":1}`}, `type ""`},
		"not JSON":        {[]string{`{"seq":1,`}, "malformed message"},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newPair(t)
			go func() {
				p.expect("threads")
				for _, m := range tc.messages {
					p.raw(m)
				}
			}()
			if _, err := c.Send("threads", nil); err != nil {
				t.Fatal(err)
			}
			_, err := c.WaitEvent(shortContext(t), "never", nil)
			var v *Violation
			if !errors.As(err, &v) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
			if _, err := c.Send("next", nil); !errors.As(err, &v) {
				t.Errorf("send afterwards: %v", err)
			}
			if err := c.Close(); !errors.As(err, &v) {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestUnordered(t *testing.T) {
	c, p := newPair(t, Unordered())
	go func() {
		for _, seq := range []int{2, 1, 4, 4} {
			p.raw(fmt.Sprintf(`{"seq":%d,"type":"event","event":"x"}`, seq))
		}
	}()
	_, err := c.WaitEvent(shortContext(t), "never", nil)
	if err == nil || !strings.Contains(err.Error(), "seq 4 after 4") {
		t.Errorf("got the error %v", err)
	}
	if n := len(c.Events()); n != 3 {
		t.Errorf("got %d events, want 3", n)
	}
}

func TestUnexpected(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.send(`"type":"request","command":"runInTerminal"`)
		p.send(`"type":"response","request_seq":5,"success":true,"command":"threads"`)
		p.event("mark", "{}")
	}()
	if _, err := c.WaitEvent(shortContext(t), "mark", nil); err != nil {
		t.Fatal(err)
	}
	un := c.Unexpected()
	if len(un) != 2 {
		t.Fatalf("got %d unexpected messages, want 2: %s", len(un), un)
	}
	for i, want := range []string{"runInTerminal", `"request_seq":5`} {
		if !strings.Contains(string(un[i]), want) {
			t.Errorf("unexpected message %d is %s, want one with %s", i, un[i], want)
		}
	}
}

func TestErrorSaysWhatWasReceived(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.expect("threads")
		p.event("output", "{}")
		p.event("terminated", "{}")
	}()
	if _, err := c.Send("threads", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitEvent(shortContext(t), "terminated", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := c.WaitStopped(ctx)
	const want = "wait for the event stopped: context deadline exceeded; last received: event output, event terminated; unanswered: threads (1)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

func TestServerCloses(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.expect("threads")
		p.event("output", "{}")
		_ = p.conn.Close()
	}()
	if _, err := c.Threads(shortContext(t)); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "the server closed the connection") {
		t.Errorf("error %v", err)
	}
	if _, err := c.WaitEvent(shortContext(t), "output", nil); err != nil {
		t.Errorf("an event from before is lost: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestCloseEndsWaits(t *testing.T) {
	c, _ := newPair(t) // the peer never reads
	done := make(chan error)
	go func() { _, err := c.Threads(t.Context()); done <- err }()
	go func() { c.SendRaw([]byte("x")); done <- nil }()
	time.Sleep(10 * time.Millisecond)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-done
	<-done
	if _, err := c.Send("threads", nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send: %v", err)
	}
}

func TestRawRequest(t *testing.T) {
	c, p := newPair(t)
	go func() { p.respond(p.expect("x-unknown"), `{}`) }()
	seq := c.Reserve("x-unknown")
	c.SendRaw(Frame(fmt.Appendf(nil, `{ "type":"request", "seq":%d, "command":"x-unknown", "extra":1 }`, seq)))
	if _, err := c.Wait(shortContext(t), seq); err != nil {
		t.Error(err)
	}
}

func TestDialFails(t *testing.T) {
	if _, err := Dial(shortContext(t), "unix", t.TempDir()+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
