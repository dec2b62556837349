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

// peer is the server's end, driven by the test.
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
		p.t.Errorf("expect %s: %s, %v", command, raw, err)
	}
	return r
}

// send sends a message with the next seq; format holds the rest of its fields.
func (p *peer) send(format string, args ...any) {
	p.seq++
	p.raw(fmt.Sprintf(`{"seq":%d,`, p.seq) + fmt.Sprintf(format, args...) + "}")
}

func (p *peer) raw(message string) {
	_, _ = p.conn.Write(Frame([]byte(message))) // a client that found a violation may have gone
}

func (p *peer) respond(r request, body string) {
	p.send(`"type":"response","request_seq":%d,"success":true,"command":%q,"body":%s`, r.Seq, r.Command, body)
}

func (p *peer) event(name, body string) { p.send(`"type":"event","event":%q,"body":%s`, name, body) }

func short(t *testing.T) context.Context {
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
	value, ref, err := c.Evaluate(short(t), 1000, "x", "watch")
	if value != "1" || ref != 7 || err != nil {
		t.Errorf("%q, %d, %v", value, ref, err)
	}
	_, _, err = c.Evaluate(short(t), 1000, "y", "watch")
	var refused *Error
	if !errors.As(err, &refused) || *refused != (Error{"evaluate", 2009, "no symbol here"}) {
		t.Errorf("refusal %v", err)
	}
	if err := c.Pause(short(t), 1); err == nil || err.Error() != "pause refused: busy" {
		t.Errorf("refusal %v", err)
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
		r, err := c.Wait(short(t), seqs[i])
		if err != nil || string(r.Body) != want || r.RequestSeq != seqs[i] || !json.Valid(r.Raw) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if _, err := c.Wait(short(t), 99); err == nil {
		t.Error("waited for a request that was never sent")
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
		e, err := c.WaitEvent(short(t), step.name, step.match)
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
		"second response": {[]string{`{"seq":1,` + asked + `}`, `{"seq":2,` + asked + `}`}, "a second response to threads (1)"},
		"no success":      {[]string{`{"seq":1,"type":"response","request_seq":1,"command":"threads"}`}, "without success"},
		"no event name":   {[]string{`{"seq":1,"type":"event"}`}, "an event without a name"},
		"no type":         {[]string{`{"seq":1}`}, `type ""`},
		"no JSON":         {[]string{`{"seq":1,`}, "not JSON"},
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
			_, err := c.WaitEvent(short(t), "never", nil)
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
	_, err := c.WaitEvent(short(t), "never", nil)
	if err == nil || !strings.Contains(err.Error(), "seq 4 after 4") || len(c.Events()) != 3 {
		t.Errorf("%d events, %v", len(c.Events()), err)
	}
}

func TestUnexpected(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.send(`"type":"request","command":"runInTerminal"`)
		p.send(`"type":"response","request_seq":5,"success":true,"command":"threads"`)
		p.event("mark", "{}")
	}()
	if _, err := c.WaitEvent(short(t), "mark", nil); err != nil {
		t.Fatal(err)
	}
	un := c.Unexpected()
	if len(un) != 2 || !strings.Contains(string(un[0]), "runInTerminal") || !strings.Contains(string(un[1]), `"request_seq":5`) {
		t.Errorf("unexpected %s", un)
	}
}

func TestFailureSaysWhatCameInstead(t *testing.T) {
	c, p := newPair(t)
	go func() {
		p.expect("threads")
		p.event("output", "{}")
		p.event("terminated", "{}")
	}()
	if _, err := c.Send("threads", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitEvent(short(t), "terminated", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := c.WaitStopped(ctx)
	const want = "wait for the event stopped: context deadline exceeded; last came event output, event terminated; unanswered: threads (1)"
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
	if _, err := c.Threads(short(t)); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "the server closed the connection") {
		t.Errorf("error %v", err)
	}
	if _, err := c.WaitEvent(short(t), "output", nil); err != nil {
		t.Errorf("what came before is lost: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestCloseEndsWaits(t *testing.T) {
	c, _ := newPair(t) // a peer that never reads
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
	if _, err := c.Wait(short(t), seq); err != nil {
		t.Error(err)
	}
}

func TestDialFails(t *testing.T) {
	if _, err := Dial(short(t), "unix", t.TempDir()+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
