package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// testTimeout bounds how long a test waits for something that must happen. No test
// passes because of it.
const testTimeout = 30 * time.Second

// wire is one end of a stream of messages; the test plays the peer that holds it.
type wire struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	seq  int
}

func newWire(t testing.TB, conn net.Conn) *wire {
	t.Cleanup(func() { conn.Close() })
	return &wire{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// frameMessage returns a message with its header.
func frameMessage(raw string) string {
	return "Content-Length: " + strconv.Itoa(len(raw)) + "\r\n\r\n" + raw
}

// send sends one message, unchanged.
func (w *wire) send(raw string) {
	w.t.Helper()
	w.sendBytes(frameMessage(raw))
}

func (w *wire) sendBytes(b string) {
	w.t.Helper()
	w.conn.SetWriteDeadline(time.Now().Add(testTimeout))
	if _, err := io.WriteString(w.conn, b); err != nil {
		w.t.Fatalf("send %.200q: %v", b, err)
	}
}

// receive returns the next message.
func (w *wire) receive() (string, error) {
	w.conn.SetReadDeadline(time.Now().Add(testTimeout))
	length := -1
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" {
			break
		}
		if _, err := fmt.Sscanf(line, "Content-Length: %d\r\n", &length); err != nil {
			return "", fmt.Errorf("header %q: %w", line, err)
		}
	}
	body := make([]byte, length)
	_, err := io.ReadFull(w.r, body)
	return string(body), err
}

func (w *wire) next() string {
	w.t.Helper()
	raw, err := w.receive()
	if err != nil {
		w.t.Fatalf("the next message: %v", err)
	}
	return raw
}

// parsedMessage is a message as encoding/json decodes it.
type parsedMessage struct {
	Seq        int             `json:"seq"`
	Type       string          `json:"type"`
	RequestSeq *int            `json:"request_seq"`
	Success    *bool           `json:"success"`
	Command    string          `json:"command"`
	Message    string          `json:"message"`
	Event      string          `json:"event"`
	Arguments  json.RawMessage `json:"arguments"`
	Body       json.RawMessage `json:"body"`
	raw        string
}

func parse(t testing.TB, raw string) parsedMessage {
	t.Helper()
	m := parsedMessage{raw: raw}
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return m
}

// expect returns the next message, which must be of that type and name.
func (w *wire) expect(typ, name string) parsedMessage {
	w.t.Helper()
	m := parse(w.t, w.next())
	if m.Type != typ || m.Command+m.Event != name {
		w.t.Fatalf("got %.300s, want the %s %s", m.raw, typ, name)
	}
	return m
}

// expectEnd expects the connection to be closed without another message.
func (w *wire) expectEnd() {
	w.t.Helper()
	if raw, err := w.receive(); err == nil {
		w.t.Fatalf("got %.300s, want the end", raw)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.t.Fatal("the connection is still open")
	}
}

// readToEnd returns the last message before the end.
func (w *wire) readToEnd() (last string) {
	w.t.Helper()
	for {
		raw, err := w.receive()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			w.t.Fatal("the connection is still open")
		}
		if err != nil {
			return last
		}
		last = raw
	}
}

// request sends a request and returns its number. args may be empty.
func (w *wire) request(command, args string) int {
	w.t.Helper()
	w.seq++
	if args != "" {
		args = `,"arguments":` + args
	}
	w.send(fmt.Sprintf(`{"seq":%d,"type":"request","command":%q%s}`, w.seq, command, args))
	return w.seq
}

// event sends an event. body may be empty.
func (w *wire) event(name, body string) {
	w.t.Helper()
	w.seq++
	if body != "" {
		body = `,"body":` + body
	}
	w.send(fmt.Sprintf(`{"seq":%d,"type":"event","event":%q%s}`, w.seq, name, body))
}

// respond sends a successful response to a request. body may be empty.
func (w *wire) respond(to parsedMessage, body string) {
	w.t.Helper()
	w.seq++
	if body != "" {
		body = `,"body":` + body
	}
	w.send(fmt.Sprintf(`{"seq":%d,"type":"response","request_seq":%d,"success":true,"command":%q%s}`, w.seq, to.Seq, to.Command, body))
}

// expectResponse expects the successful response to a request.
func (w *wire) expectResponse(seq int, command string) parsedMessage {
	w.t.Helper()
	m := w.expect("response", command)
	w.checkResponse(m, seq, true)
	return m
}

// checkResponse fails the test unless m is a response to the request seq with that
// success.
func (w *wire) checkResponse(m parsedMessage, seq int, success bool) {
	w.t.Helper()
	if m.RequestSeq == nil || m.Success == nil {
		w.t.Fatalf("%.300s lacks request_seq or success", m.raw)
	}
	if got := *m.RequestSeq; got != seq {
		w.t.Fatalf("%.300s answers request %d, want %d", m.raw, got, seq)
	}
	if got := *m.Success; got != success {
		w.t.Fatalf("%.300s has success %v, want %v", m.raw, got, success)
	}
}

// expectRefusal expects an error as the response to a request, as an IDE shows it.
func (w *wire) expectRefusal(seq int, command string, texts ...string) {
	w.t.Helper()
	m := w.expect("response", command)
	w.checkResponse(m, seq, false)
	var body struct {
		Error struct {
			ID       int    `json:"id"`
			Format   string `json:"format"`
			ShowUser bool   `json:"showUser"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil {
		w.t.Errorf("the body of %s: %v", m.raw, err)
	}
	if got, want := body.Error.Format, m.Message; got != want {
		w.t.Errorf("the error's format is %q, want the message %q", got, want)
	}
	if body.Error.ID == 0 || !body.Error.ShowUser {
		w.t.Errorf("the error has id %d and showUser %v, want an id and true: %s", body.Error.ID, body.Error.ShowUser, m.raw)
	}
	for _, text := range texts {
		if !strings.Contains(m.Message, text) {
			w.t.Errorf("%s is refused with %q, want %q in it", command, m.Message, text)
		}
	}
}

// expectConsole expects one of the bridge's own lines in the debug console.
func (w *wire) expectConsole(text string) {
	w.t.Helper()
	m := w.expect("event", "output")
	var body struct{ Category, Output string }
	if err := json.Unmarshal(m.Body, &body); err != nil || body.Category != "console" {
		w.t.Errorf("no console line: %s", m.raw)
	}
	line, ok := strings.CutPrefix(body.Output, "dapbridge: ")
	if !ok || !strings.HasSuffix(line, "\n") {
		w.t.Errorf("the console shows %q, want one line that starts with dapbridge", body.Output)
	}
	if !strings.Contains(body.Output, text) {
		w.t.Errorf("the console shows %q, want %q in it", body.Output, text)
	}
}

// scriptedNode is a Dialer whose sessions are scripted by a test, since a real node
// neither misbehaves nor replays a recording on demand.
type scriptedNode struct {
	t        testing.TB
	caps     string
	target   TargetInfo
	paths    *pathmap.Map
	notice   string                          // for the user; "" for none
	sources  SourceFiles                     // nil: the host lacks nothing
	dial     func(ctx context.Context) error // what Dial waits for; nil: nothing
	onDial   func(DialOptions)               // called by Dial with its options; may be nil
	end      func(ctx context.Context) error // what End waits for and returns; nil: nothing
	wrap     func(net.Conn) net.Conn         // the bridge's end of a stream; nil: as it is
	sessions chan *nodeSession               // every session that was dialed
	dials    atomic.Int32
}

func newNode(t testing.TB) *scriptedNode {
	return &scriptedNode{
		t:        t,
		caps:     `{"supportsConfigurationDoneRequest":true}`,
		target:   TargetInfo{Name: "containerd", PID: 4711},
		sessions: make(chan *nodeSession, 16),
	}
}

func (n *scriptedNode) Capabilities() json.RawMessage { return json.RawMessage(n.caps) }

func (n *scriptedNode) Dial(ctx context.Context, w DialOptions) (Session, error) {
	n.dials.Add(1)
	if n.onDial != nil {
		n.onDial(w)
	}
	if n.dial != nil {
		if err := n.dial(ctx); err != nil {
			return nil, err
		}
	}
	ours, theirs := net.Pipe()
	if n.wrap != nil {
		ours = n.wrap(ours)
	}
	s := &nodeSession{wire: newWire(n.t, theirs), node: n, stream: ours, ended: make(chan struct{}), protocol: w.Protocol}
	n.sessions <- s
	return s, nil
}

// nextSession returns the next session that was dialed.
func (n *scriptedNode) nextSession() *nodeSession {
	n.t.Helper()
	select {
	case s := <-n.sessions:
		return s
	case <-time.After(testTimeout):
		n.t.Fatal("no session was dialed")
		return nil
	}
}

// hookedConn is a connection whose Read and Write may be replaced.
type hookedConn struct {
	net.Conn
	read, write func(p []byte) (int, error) // nil means Conn's
}

func (c hookedConn) Read(p []byte) (int, error) {
	if c.read != nil {
		return c.read(p)
	}
	return c.Conn.Read(p)
}

func (c hookedConn) Write(p []byte) (int, error) {
	if c.write != nil {
		return c.write(p)
	}
	return c.Conn.Write(p)
}

// nodeSession is a Session whose other end, the wire, is played by the test. The
// stream is an unbuffered pipe: a writer waits until its message has been read.
type nodeSession struct {
	*wire
	node     *scriptedNode
	protocol Protocol
	stream   net.Conn // the bridge's end

	ends  atomic.Int32
	once  sync.Once
	ended chan struct{} // closed when an End has returned
}

func (s *nodeSession) Read(p []byte) (int, error)  { return s.stream.Read(p) }
func (s *nodeSession) Write(p []byte) (int, error) { return s.stream.Write(p) }
func (s *nodeSession) Target() TargetInfo          { return s.node.target }
func (s *nodeSession) Map() *pathmap.Map           { return s.node.paths }
func (s *nodeSession) Sources() SourceFiles        { return s.node.sources }

func (s *nodeSession) Notify(line func(string)) {
	if s.node.notice != "" {
		line(s.node.notice)
	}
}

func (s *nodeSession) End(ctx context.Context) error {
	s.ends.Add(1)
	defer s.once.Do(func() { close(s.ended) })
	var err error
	if s.node.end != nil {
		err = s.node.end(ctx)
	}
	s.stream.Close()
	return err
}

// waitEnded waits until End has returned. It must have been called only once.
func (s *nodeSession) waitEnded() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(testTimeout):
		s.t.Fatal("the session on the node was not ended")
	}
	if n := s.ends.Load(); n != 1 {
		s.t.Errorf("End was called %d times", n)
	}
}

// accept plays the node's part of an attach and returns the attach request.
func (s *nodeSession) accept() parsedMessage {
	s.t.Helper()
	s.respond(s.expect("request", "initialize"), s.node.caps)
	attach := s.expect("request", "attach")
	s.event("initialized", "")
	s.respond(attach, "")
	return attach
}

// ide is an IDE that is played by a test.
type ide struct{ *wire }

const initializeArgs = `{"clientID":"vscode","clientName":"Visual Studio Code","adapterID":"go","pathFormat":"path","linesStartAt1":true,"columnsStartAt1":true}`

func (i ide) initialize() {
	i.t.Helper()
	i.expectResponse(i.request("initialize", initializeArgs), "initialize")
}

// attach attaches to the node n, and plays the node's part too.
func (i ide) attach(n *scriptedNode) *nodeSession {
	i.t.Helper()
	i.initialize()
	seq := i.request("attach", `{"mode":"remote"}`)
	s := n.nextSession()
	s.accept()
	i.expect("event", "initialized")
	i.expectResponse(seq, "attach")
	return s
}

// roundTrip shows that the session works.
func (i ide) roundTrip(s *nodeSession) {
	i.t.Helper()
	seq := i.request("threads", "")
	s.respond(s.expect("request", "threads"), `{"threads":[]}`)
	i.expectResponse(seq, "threads")
}

// disconnect ends the session as an IDE does.
func (i ide) disconnect() {
	i.t.Helper()
	i.expectResponse(i.request("disconnect", `{"restart":false,"terminateDebuggee":false}`), "disconnect")
	i.expect("event", "terminated")
	i.expectEnd()
}
