package bridge

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// recordedMessage is one message of a recorded session.
type recordedMessage struct {
	From    string          `json:"from"`
	Message json.RawMessage `json:"message"`
}

// readRecording returns the messages of VS Code's session with Delve in testdata, byte
// for byte.
func readRecording(t testing.TB) (messages []recordedMessage) {
	f, err := os.Open("testdata/vscode-go-attach.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recordedMessage
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, r)
	}
	if err := lines.Err(); err != nil || len(messages) != 108 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	return messages
}

// The recorded session's host path, which Delve itself mapped then, and its node path.
const (
	recordedHost = "/home/dev/containerd"
	recordedNode = "/home/build/go/pkg/mod/github.com/containerd/containerd/v2@v2.4.2"
)

// onNode returns a recorded message with node paths in its Sources, recognised by the
// way they are written in the recording, and nowhere else.
func onNode(raw string) string {
	return strings.NewReplacer(
		`.go","path":"`+recordedHost+`/`, `.go","path":"`+recordedNode+`/`,
		`{"path":"`+recordedHost+`/`, `{"path":"`+recordedNode+`/`,
	).Replace(raw)
}

// withNumber returns a message with n as its top-level member name, if it has that
// member. It is slow, and independent of the code under test.
func withNumber(t *testing.T, raw, name string, n int) string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		if key == name {
			end := int(dec.InputOffset())
			return raw[:end-len(value)] + strconv.Itoa(n) + raw[end:]
		}
	}
	return raw
}

func withNumbers(t *testing.T, raw string, seq, requestSeq int) string {
	t.Helper()
	return withNumber(t, withNumber(t, raw, "seq", seq), "request_seq", requestSeq)
}

// decorate adds to a recorded message what the recording lacks: unknown members, white
// space, escapes, numbers in every notation.
func decorate(raw string) string {
	const odd = `"x-odd" : {"seq":7,"request_seq":-8,"type":[1e3,-0,1.0,0.1E+10,12345678901234567890123,[],{}],` +
		`"\u0074ext":"\u0041\/\b\\\" \ud83d\ude00 \ud800 😀 é` + "\u2028" + ` \"seq\":5","path":"` + recordedHost + `/a.go","source":"` + recordedHost + `/b.go","null":null },` + "\r\n\t "
	raw = "{ " + odd + strings.TrimPrefix(raw, "{")
	for _, inner := range []string{`"arguments":{`, `"body":{`} {
		if !strings.Contains(raw, inner+"}") {
			raw = strings.Replace(raw, inner, strings.TrimSuffix(inner, ":{")+"\n:\t{ "+odd, 1)
		}
	}
	return strings.TrimSuffix(raw, "}") + " \n}\r\n"
}

func TestRecordedSession(t *testing.T) {
	replay(t, readRecording(t))
}

func TestRecordedSessionWithUnknownMembers(t *testing.T) {
	messages := readRecording(t)
	for i, m := range messages {
		messages[i].Message = json.RawMessage(decorate(string(m.Message)))
		if !json.Valid(messages[i].Message) {
			t.Fatalf("no JSON: %s", messages[i].Message)
		}
	}
	replay(t, messages)
}

func TestRecordedSessionWithUnknownCommands(t *testing.T) {
	messages := readRecording(t)
	last := len(messages) - 4 // the disconnect and what follows
	for i, m := range []recordedMessage{
		{"client", json.RawMessage(`{"seq":900,"type":"request","command":"x-unknown"}`)},
		{"client", json.RawMessage(`{"type":"request","command":"cancel","seq":901,"arguments":{"requestId":1e3}}`)},
		{"server", json.RawMessage(`{"seq":900,"type":"event","event":"x-unknown","body":[1e3]}`)},
		{"server", json.RawMessage(`{"seq":901,"type":"response","request_seq":901,"success":false,"command":"cancel","message":"no","body":null}`)},
		{"server", json.RawMessage(`{"seq":902,"type":"response","request_seq":900,"success":true,"command":"x-unknown","body":"\u003c"}`)},
		{"client", json.RawMessage(`{"seq":902,"type":"request","command":"x-sources","arguments":{"sources":[{"path":"` + recordedHost + `/a.go"},{"path":"/tmp/b.go"}]}}`)},
	} {
		messages = append(messages[:last+i], append([]recordedMessage{m}, messages[last+i:]...)...)
	}
	replay(t, messages)
}

// replay plays a recorded session through the bridge, in order. Every message must
// arrive as it was sent, except for its numbers, the paths in it and what the policy
// changes.
func replay(t *testing.T, messages []recordedMessage) {
	m, err := pathmap.New(pathmap.Rule{Host: recordedHost, Node: recordedNode})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	n.paths = m
	for _, m := range messages {
		if p := parse(t, string(m.Message)); p.Type == "response" && p.Command == "initialize" {
			n.caps = string(p.Body)
		}
	}
	p := player{t: t, node: n, i: serve(t, Config{Dialer: n}).dialIDE(), nodeSeqs: map[int]int{}}
	for _, m := range messages {
		if raw := string(m.Message); m.From == "client" {
			p.fromIDE(raw, parse(t, raw))
		} else {
			p.fromNode(raw, parse(t, raw))
		}
	}
	p.s.waitEnded()
	p.i.expectEnd()
}

// player is a replay under way.
type player struct {
	t        *testing.T
	node     *scriptedNode
	i        ide
	s        *nodeSession
	seq      int         // of what the IDE got last
	nodeSeqs map[int]int // the node's number for a recorded request
	ended    bool
}

// ideSeq is the IDE's own number for a recorded request.
func ideSeq(seq int) int { return 10*seq + 3 }

func (p *player) fromIDE(raw string, m parsedMessage) {
	p.i.send(withNumber(p.t, raw, "seq", ideSeq(m.Seq)))
	switch m.Command {
	case "initialize":
		return
	case "disconnect":
		p.ended = true
		return
	case "attach":
		p.s = p.node.nextSession()
		p.s.respond(p.s.expect("request", "initialize"), p.node.caps)
		before := len(raw)
		raw = strings.Replace(raw, `,"substitutePath":[{"from":"`+recordedHost+`","to":"`+recordedNode+`"}]`, "", 1)
		if len(raw) == before {
			p.t.Fatal("the attach has no substitutePath")
		}
	}
	got := p.s.next()
	seq := parse(p.t, got).Seq
	p.nodeSeqs[m.Seq] = seq
	want := onNode(withNumber(p.t, raw, "seq", seq))
	if got != want {
		p.t.Fatalf("the node got\n%s\nand the IDE had sent\n%s", got, want)
	}
}

func (p *player) fromNode(raw string, m parsedMessage) {
	p.seq++
	switch {
	case p.ended:
		if m.Type == "event" && m.Event == "output" {
			p.seq-- // Delve's last output; the bridge ends the session itself
			return
		}
		p.expectFromBridge(m)
		return
	case m.Command == "initialize":
		caps := p.expectFromBridge(m)
		for _, name := range []string{`"supportsRestartRequest":`, `"supportsDataBreakpoints":`} {
			raw = strings.Replace(raw, name+"true", name+"false", 1)
		}
		if want := parse(p.t, raw).Body; compact(p.t, caps.Body) != compact(p.t, want) {
			p.t.Errorf("initialize is answered with\n%s\nwant\n%s", caps.Body, want)
		}
		return
	}
	requestSeq := -1
	if m.RequestSeq != nil {
		requestSeq = *m.RequestSeq
	}
	p.s.send(onNode(withNumbers(p.t, raw, 1000+m.Seq, p.nodeSeqs[requestSeq])))
	want := withNumbers(p.t, raw, p.seq, ideSeq(requestSeq))
	if m.Event == "capabilities" {
		want = strings.Replace(want, `"supportTerminateDebuggee":true`, `"supportTerminateDebuggee":false`, 1)
	}
	if got := p.i.next(); got != want {
		p.t.Fatalf("the IDE got\n%s\nand the node had sent\n%s", got, want)
	}
}

// expectFromBridge expects one of the bridge's own messages, similar to m.
func (p *player) expectFromBridge(m parsedMessage) parsedMessage {
	p.t.Helper()
	got := p.i.expect(m.Type, m.Command+m.Event)
	if got.Seq != p.seq {
		p.t.Errorf("the message after %d has the number %d", p.seq-1, got.Seq)
	}
	if m.RequestSeq != nil && (got.RequestSeq == nil || *got.RequestSeq != ideSeq(*m.RequestSeq) || !*got.Success) {
		p.t.Errorf("got %s for %s", got.raw, m.raw)
	}
	return got
}

func compact(t *testing.T, raw []byte) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// serveSession returns a server, an IDE and a node with a session under way.
func serveSession(t *testing.T, c Config) (*testServer, ide, *nodeSession) {
	n := newNode(t)
	c.Dialer = n
	srv := serve(t, c)
	i := srv.dialIDE()
	return srv, i, i.attach(n)
}

// The node cannot make the IDE run programs.
func TestReverseRequestsAreRefused(t *testing.T) {
	srv, i, s := serveSession(t, Config{})
	for _, c := range []struct {
		seq          int
		command, raw string
	}{
		{70, "runInTerminal", `{"seq":70,"type":"request","command":"runInTerminal","arguments":{"kind":"integrated","cwd":"/","args":["rm","-rf","/"]}}`},
		{71, "startDebugging", `{"seq":71,"type":"request","command":"startDebugging","arguments":{"request":"launch","configuration":{"program":"/bin/sh"}}}`},
		{0, "startDebugging", `{"type":"request","command":"startDebugging"}`},
		{72, "", `{"seq":72,"type":"request"}`},
		{73, "run\u0049nTerminal", `{"seq":73,"t\u0079pe":"request","command":"run\u0049nTerminal"}`},
	} {
		s.send(c.raw)
		got := parse(t, s.next())
		s.checkResponse(got, c.seq, false)
		if got.Type != "response" {
			t.Errorf("%s is answered with the type %s", c.raw, got.Type)
		}
		if want := strings.ReplaceAll(c.command, "\\u0049", "I"); got.Command != want {
			t.Errorf("%s is answered with the command %q, want %q", c.raw, got.Command, want)
		}
	}
	srv.waitForLog("level=WARN", "refused", "command=runInTerminal")
	i.roundTrip(s) // the IDE has received nothing before
}

// Of the node's messages, only events and responses to pending requests are relayed.
func TestUnaskedMessagesAreDropped(t *testing.T) {
	srv, i, s := serveSession(t, Config{})
	seq := i.request("evaluate", `{"expression":"a"}`)
	request := s.expect("request", "evaluate")
	for _, raw := range []string{
		`{"seq":90,"type":"response","request_seq":9999,"success":true,"command":"threads"}`,
		`{"seq":91,"type":"response","success":true,"command":"threads"}`,
		fmt.Sprintf(`{"seq":92,"type":"response","request_seq":%d,"success":true,"command":"initialize"}`, request.Seq-2),
		fmt.Sprintf(`{"seq":93,"type":"response","request_seq":-%d,"success":true,"command":"evaluate"}`, request.Seq),
		`{"seq":94,"type":"unknown","command":"threads"}`,
		fmt.Sprintf(`{"seq":95,"request_seq":%d,"success":true,"command":"evaluate"}`, request.Seq),
		`{}`,
	} {
		s.send(raw)
	}
	s.respond(request, `{"result":"1"}`)
	s.respond(request, `{"result":"2"}`)
	s.event("x", "")
	if got := i.expectResponse(seq, "evaluate"); string(got.Body) != `{"result":"1"}` {
		t.Errorf("got %s", got.raw)
	}
	i.expect("event", "x")
	srv.waitForLog("level=WARN", "unexpected response", "request_seq=9999")
	srv.waitForLog("level=WARN", "dropped", "type=unknown")
}

// A response carries the command that its request had, whatever the node says.
func TestResponsesCarryTheirCommand(t *testing.T) {
	_, i, s := serveSession(t, Config{})
	for _, command := range []string{`,"command":"runInTerminal"`, ``} {
		seq := i.request("threads", "")
		request := s.expect("request", "threads")
		s.send(fmt.Sprintf(`{"seq":1,"type":"response","request_seq":%d,"success":true%s}`, request.Seq, command))
		i.expectResponse(seq, "threads")
	}
}

func TestResponsesComeInAnyOrder(t *testing.T) {
	_, i, s := serveSession(t, Config{})
	a, b := i.request("scopes", ""), i.request("variables", "")
	scopes, variables := s.expect("request", "scopes"), s.expect("request", "variables")
	s.respond(variables, "")
	s.respond(scopes, "")
	i.expectResponse(b, "variables")
	i.expectResponse(a, "scopes")
}

// TestNoVariables checks that a failing evaluation says what the target lacks, and nothing
// else does.
func TestNoVariables(t *testing.T) {
	n := newNode(t)
	n.target.NoVariables = "no debug information, so no variables: run dapbridge symbols"
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	fail := func(request parsedMessage) {
		s.send(fmt.Sprintf(`{"seq":1,"type":"response","request_seq":%d,"success":false,"command":%q,"message":"Unable to do it"}`, request.Seq, request.Command))
	}
	i.request("evaluate", `{"expression":"x"}`)
	fail(s.expect("request", "evaluate"))
	m := i.expect("response", "evaluate")
	if *m.Success || m.Message != n.target.NoVariables || !strings.Contains(m.raw, `"showUser":false`) {
		t.Errorf("got %s, want an error with %q that is not shown by itself", m.raw, n.target.NoVariables)
	}
	seq := i.request("evaluate", `{"expression":"RAX"}`)
	s.respond(s.expect("request", "evaluate"), `{"result":"1"}`)
	i.expectResponse(seq, "evaluate")
	for command, args := range map[string]string{"evaluate": `{"expression":"dlv sources x"}`, "stackTrace": `{}`} {
		i.request(command, args)
		fail(s.expect("request", command))
		if m := i.expect("response", command); *m.Success || m.Message != "Unable to do it" {
			t.Errorf("got %s, want the node's error", m.raw)
		}
	}
}

// An IDE may number its messages from 0, or from any other number.
func TestSequenceNumbersOfTheIDE(t *testing.T) {
	n := newNode(t)
	i := serve(t, Config{Dialer: n}).dialIDE()
	i.seq = -1
	s := i.attach(n)
	i.seq = 1<<53 - 2
	i.roundTrip(s)
	i.seq = -1
	i.roundTrip(s)
	i.seq = -1
	seq := i.request("restart", "")
	i.expectConsole("")
	i.expectRefusal(seq, "restart")
}

// A malformed message from the node ends its session, but not the server.
func TestGarbageFromTheNode(t *testing.T) {
	for name, bytes := range map[string]string{
		"no message":       "panic: runtime error\n\ngoroutine 1 [running]:\n",
		"HTTP":             "GET / HTTP/1.1\r\n\r\n",
		"no JSON":          frameMessage("Hello"),
		"no object":        frameMessage("null"),
		"a wrong type":     frameMessage(`{"seq":"x","type":"event","event":"stopped"}`),
		"a member twice":   frameMessage(`{"seq":1,"type":"event","type":"request","command":"runInTerminal"}`),
		"another spelling": frameMessage(`{"seq":1,"type":"event","event":"x","Type":"request"}`),
		"too large":        "Content-Length: 1000000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			srv, i, s := serveSession(t, Config{MaxBody: 1 << 16})
			io.WriteString(s.conn, bytes) // an error if the bridge stops reading halfway
			i.expectConsole("the node ended the session")
			i.expect("event", "terminated")
			s.waitEnded()
			s.expectEnd()
			srv.waitForLog("level=WARN", "connection to the node failed")
			i.expectRefusal(i.request("threads", ""), "threads", "the session has ended")
			i.expectResponse(i.request("disconnect", ""), "disconnect")
			i.expectEnd()
			other := srv.dialIDE()
			other.roundTrip(other.attach(s.node))
		})
	}
}

// flood has the node send events until they are no longer read, and then returns.
func flood(s *nodeSession) {
	s.conn.SetWriteDeadline(time.Time{})
	go func() {
		text := strings.Repeat("x", 10_000)
		for {
			if _, err := io.WriteString(s.conn, frameMessage(`{"seq":1,"type":"event","event":"output","body":{"output":"`+text+`"}}`)); err != nil {
				return
			}
		}
	}()
	synctest.Wait()
}

// withStuckSession runs f in a synctest bubble, with a session that jam has blocked.
func withStuckSession(t *testing.T, c Config, jam func(i ide, s *nodeSession), f func(t *testing.T, srv *testServer, i ide, s *nodeSession)) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		c.Dialer = n
		srv := servePiped(t, c)
		i := srv.dialIDE()
		s := i.attach(n)
		jam(i, s)
		f(t, srv, i, s)
	})
}

// However a session is blocked, it ends when it must, and others keep working.
func TestStuckSessionsEnd(t *testing.T) {
	for jam, f := range map[string]func(i ide, s *nodeSession){
		"IDE does not read": func(i ide, s *nodeSession) { flood(s) },
		"IDE does not read and asks": func(i ide, s *nodeSession) {
			flood(s)
			for range 3 {
				i.request("restart", "") // the bridge's own answer can't be written either
				i.request("threads", "")
			}
		},
		"node does not read": func(i ide, s *nodeSession) {
			for range 3 {
				i.request("threads", "")
			}
			synctest.Wait()
		},
		"node does not read and asks": func(i ide, s *nodeSession) {
			for n := range 3 {
				s.send(fmt.Sprintf(`{"seq":%d,"type":"request","command":"runInTerminal"}`, n))
			}
			i.request("threads", "")
			synctest.Wait()
		},
		"nobody reads": func(i ide, s *nodeSession) {
			i.request("threads", "")
			flood(s)
		},
	} {
		t.Run(jam, func(t *testing.T) { testWaysToEnd(t, f) })
	}
}

// testWaysToEnd ends a session that f has blocked, in each possible way.
func testWaysToEnd(t *testing.T, f func(i ide, s *nodeSession)) {
	t.Run("context", func(t *testing.T) {
		withStuckSession(t, Config{}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			srv.stop()
			s.waitEnded()
		})
	})
	t.Run("IDE goes", func(t *testing.T) {
		withStuckSession(t, Config{}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			i.conn.Close()
			s.waitEnded()
			other := srv.dialIDE()
			other.roundTrip(other.attach(s.node))
		})
	})
	t.Run("disconnect", func(t *testing.T) {
		withStuckSession(t, Config{}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			i.request("disconnect", "")
			s.waitEnded()
			other := srv.dialIDE()
			other.roundTrip(other.attach(s.node))
		})
	})
	t.Run("terminate", func(t *testing.T) {
		withStuckSession(t, Config{}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			i.request("terminate", "")
			s.waitEnded()
		})
	})
	t.Run("takeover", func(t *testing.T) {
		withStuckSession(t, Config{Takeover: true}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			other := srv.dialIDE()
			second := other.attach(s.node)
			s.waitEnded()
			other.roundTrip(second)
		})
	})
	t.Run("node goes", func(t *testing.T) {
		withStuckSession(t, Config{}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			s.conn.Close()
			go io.Copy(io.Discard, i.conn)
			s.waitEnded()
		})
	})
	t.Run("another connection", func(t *testing.T) {
		withStuckSession(t, Config{}, f, func(t *testing.T, srv *testServer, i ide, s *nodeSession) {
			other := srv.dialIDE()
			other.initialize()
			other.expectRefusal(other.request("attach", "{}"), "attach", "has held the session")
		})
	})
}

// Events and responses from the node are relayed while the node does not read.
func TestRelayFromANodeThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		i := servePiped(t, Config{Dialer: n}).dialIDE()
		s := i.attach(n)
		first, second := i.request("scopes", ""), i.request("threads", "")
		request := s.expect("request", "scopes")
		s.event("stopped", `{"threadId":1}`)
		s.respond(request, "")
		i.expect("event", "stopped")
		i.expectResponse(first, "scopes")
		s.respond(s.expect("request", "threads"), "")
		i.expectResponse(second, "threads")
	})
}

// The queue of requests that the node does not read is bounded.
func TestRequestsThatTheNodeDoesNotRead(t *testing.T) {
	up := newUpstream(&nodeSession{node: newNode(t)}, nil, pathmap.Client{})
	body := `{"seq":1,"type":"request","command":"x","arguments":"` + strings.Repeat("x", 3<<20) + `"}`
	sent := 0
	for {
		err := up.sendRequest([]byte(body), pendingRequest{})
		if err != nil {
			if !strings.Contains(err.Error(), "the debugger does not read its requests") {
				t.Error(err)
			}
			break
		}
		sent++
	}
	if sent != maxBacklog/len(body)+1 || len(up.pending) != sent {
		t.Errorf("%d requests were taken, %d are pending", sent, len(up.pending))
	}
}

// The same holds over TCP, whose buffers are large.
func TestIDEThatDoesNotReadOverTCP(t *testing.T) {
	for name, end := range map[string]func(srv *testServer, i ide){
		"context":  func(srv *testServer, i ide) { srv.cancel() },
		"IDE goes": func(srv *testServer, i ide) { i.conn.Close() },
		"disconnect": func(srv *testServer, i ide) {
			i.request("restart", "") // the bridge's own answer does not wait either
			i.request("disconnect", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv, i, s := serveSession(t, Config{})
			s.event("output", `{"output":"`+strings.Repeat("x", 16<<20)+`"}`)
			other := srv.dialIDE()
			other.initialize()
			end(srv, i)
			s.waitEnded()
		})
	}
}

// Large messages arrive whole, in order and with the host's paths, though they are
// written in parts.
func TestLargeMessagesFromTheNode(t *testing.T) {
	n := newNode(t)
	n.paths = newTestMap(t, pathmap.Rule{Host: "/home/me/src", Node: "/go/src"})
	i := serve(t, Config{Dialer: n}).dialIDE()
	s := i.attach(n)
	large := strings.Repeat("0123456789", 600_000)
	frames := `{"a":[` + strings.Repeat(`{"source":{"path":"/go/src/a.go"}},{"source":{"path":"/x.go"}},`, 20_000) + `0]}`
	bodies := []string{`"a"`, `"` + large + `"`, `"b"`, frames, `"` + large[5:] + `"`, frames, `"c"`}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, body := range bodies {
			s.event("x", body)
		}
	}()
	for k, body := range bodies {
		want := strings.ReplaceAll(body, "/go/src", "/home/me/src")
		if got := i.expect("event", "x"); string(got.Body) != want {
			t.Errorf("message %d: %d bytes came, %d were sent", k, len(got.Body), len(body))
		}
	}
	<-sent
	i.roundTrip(s)
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue()
	for range maxWrites {
		if _, err := q.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Write([]byte("x")); err != errUnread {
		t.Errorf("error %v", err)
	}
	if err := q.run(io.Discard); err != errUnread {
		t.Errorf("run returned %v", err)
	}
}

// Bytes are written at once only if nothing is queued before them.
func TestQueueWritesAtOnce(t *testing.T) {
	q := newQueue()
	var now strings.Builder
	q.tryWrite = func(p []byte) int {
		n, _ := now.Write(p[:min(len(p), 2)])
		return n
	}
	write := func(p, wantNow, wantQueued string) {
		t.Helper()
		if n, err := q.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if now.String() != wantNow || string(q.buf) != wantQueued {
			t.Errorf("after %s, %s is written at once and %s waits", p, now.String(), q.buf)
		}
	}
	write("ab", "ab", "")
	write("cde", "abcd", "e")
	write("f", "abcd", "ef")
	taken, err := q.take(nil)
	if err != nil || string(taken) != "ef" {
		t.Errorf("taken %s, %v", taken, err)
	}
	write("g", "abcd", "g") // run is writing ef
}

// While a caller holds the claim, other writes are queued; an error of its own writes
// stops the queue.
func TestQueueClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var out strings.Builder
		done := make(chan error)
		if !q.claim() || q.claim() {
			t.Fatal("the turn can be had once")
		}
		go func() { done <- q.run(&out) }()
		io.WriteString(q, "behind")
		synctest.Wait()
		out.WriteString("first ")
		q.release(nil)
		if err := q.waitIdle(); err != nil || out.String() != "first behind" {
			t.Errorf("%q, %v", out.String(), err)
		}
		if !q.claim() {
			t.Fatal("the turn is not given back")
		}
		q.release(io.ErrClosedPipe)
		if err := <-done; err != io.ErrClosedPipe {
			t.Errorf("after an error run returned %v", err)
		}
		if err := q.waitIdle(); err != io.ErrClosedPipe {
			t.Errorf("after an error waitIdle returned %v", err)
		}
		if q.claim() {
			t.Error("the queue can be claimed after an error")
		}
	})
}

// Messages come out whole and in order, whichever way they are written.
func TestQueueKeepsTheOrder(t *testing.T) {
	q := newQueue()
	ours, theirs := net.Pipe()
	done := make(chan error)
	go func() { done <- q.run(ours) }()
	var want strings.Builder
	go func() {
		for n := range 5000 {
			if err := q.waitRoom(); err != nil {
				t.Error(err)
			}
			line := fmt.Sprintf("%d %s\n", n, strings.Repeat("x", n%700))
			if n%7 == 0 && q.claim() {
				_, err := io.WriteString(ours, line)
				q.release(err)
				continue
			}
			io.WriteString(q, line)
		}
		q.waitIdle()
		ours.Close()
	}()
	for n := range 5000 {
		fmt.Fprintf(&want, "%d %s\n", n, strings.Repeat("x", n%700))
	}
	got, err := io.ReadAll(theirs)
	if err != nil || string(got) != want.String() {
		t.Errorf("%d bytes came out, %v; %d went in", len(got), err, want.Len())
	}
	q.stop(io.EOF)
	if err := <-done; err != io.EOF {
		t.Errorf("run returned %v", err)
	}
	if _, err := q.Write([]byte("x")); err != io.EOF {
		t.Errorf("after stop: %v", err)
	}
}
