package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"
	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestHostileSession serves a node that attaches and then misbehaves in the
// session's own channel: the IDE's session ends, or can be ended by the IDE, and
// the daemon serves the next client.
func TestHostileSession(t *testing.T) {
	framed := func(body string) string { return string(dapclient.Frame([]byte(body))) }
	for name, join := range map[string]func(io.ReadWriter) int{
		"closes at once":       says("", -1),
		"ends at once":         says("", 7),
		"says nothing":         stays(stalls("")),
		"no framing":           floods("", "Segmentation fault\n"),
		"a header without end": floods("", "x"),
		"a huge length":        stays(stalls("Content-Length: 9223372036854775807\r\n\r\n{")),
		"a negative length":    stays(stalls("Content-Length: -1\r\n\r\n{")),
		"a large length":       floods("Content-Length: 4294967296\r\n\r\n", "x"),
		"no JSON":              stays(stalls(framed("hello"))),
		"deep JSON":            stays(stalls(framed(strings.Repeat(`{"a":`, 1<<20)))),
		"reverse requests":     floods("", framed(`{"seq":1,"type":"request","command":"runInTerminal","arguments":{"cwd":"/","args":["touch","/tmp/owned"]}}`)),
		"answers":              floods("", framed(`{"seq":1,"type":"response","request_seq":31337,"success":true,"command":"`+evil+`"}`)),
		"events":               floods("", framed(`{"seq":1,"type":"event","event":"`+evil+`","body":{"text":"`+evil+`"}}`)),
		"an evil refusal":      stays(refusesAttach),
	} {
		t.Run(name, func(t *testing.T) {
			n := &hostileNode{join: join, start: (&scriptedAgent{
				hello:   goodHello(aTarget),
				answers: map[string]string{"attach": "{" + aTarget + "}", "end": "{}", "sources": sources(`{}`), "optimisation": "{}"},
			}).run}
			n.serve(t)
			s := startServe(t, n)
			s.attachAndGiveUp(t)
			next := dapclient.New(s.dial(t))
			if _, err := next.Initialize(t.Context()); err != nil {
				t.Errorf("the next client: %v", err)
			}
			next.Close()
			harmless(t, s.stop(t))
		})
	}
}

// refusesAttach answers each request with an error that is not for terminals.
func refusesAttach(rw io.ReadWriter) int {
	r := bufio.NewReader(rw)
	for {
		raw, err := dap.ReadBaseMessage(r)
		if err != nil {
			return -1
		}
		var m struct {
			Seq     int
			Command string
		}
		if json.Unmarshal(raw, &m) != nil {
			return -1
		}
		answer, _ := json.Marshal(map[string]any{
			"seq": 1, "type": "response", "request_seq": m.Seq, "command": m.Command, "success": m.Command == "initialize",
			"message": "\x1b[2J", "body": map[string]any{"error": map[string]any{"id": 1, "format": "\x1b[2J\nerror: yours"}},
		})
		rw.Write(dapclient.Frame(answer))
	}
}

// served is a `dapbridge serve` that runs in this process.
type served struct {
	addr   string
	end    context.CancelFunc
	ended  chan int
	err    stream
	before goleak.Option
	heap   func() uint64
}

func startServe(t *testing.T, n *hostileNode) *served {
	t.Helper()
	n.setenv(t)
	s := &served{ended: make(chan int, 1), before: goleak.IgnoreCurrent(), heap: watchHeap()}
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	out, in := io.Pipe()
	go func() {
		args := n.args("serve", "--listen", "127.0.0.1:0", "-o", "json")
		s.ended <- run(ctx, environment{args: args, getenv: os.Getenv, in: os.Stdin, out: in, err: &s.err, idleTimeout: 10 * time.Second})
		in.Close()
	}()
	var ready struct{ Listen string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatalf("status %d: %s", <-s.ended, s.err.String())
	}
	go io.Copy(io.Discard, out)
	s.addr = ready.Listen
	return s
}

func (s *served) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// attachAndGiveUp is an IDE that asks for a session, takes what comes for some
// time, and keeps none of it.
func (s *served) attachAndGiveUp(t *testing.T) {
	t.Helper()
	conn := s.dial(t)
	defer conn.Close()
	for _, request := range []string{
		`{"seq":1,"type":"request","command":"initialize","arguments":{"adapterID":"go","pathFormat":"path","linesStartAt1":true,"columnsStartAt1":true}}`,
		`{"seq":2,"type":"request","command":"attach","arguments":{"mode":"remote"}}`,
	} {
		if _, err := conn.Write(dapclient.Frame([]byte(request))); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	if n, err := io.Copy(io.Discard, conn); n == 0 {
		t.Errorf("initialize is not answered: %v", err)
	}
}

// stop ends it as Ctrl-C does, and returns what it has written.
func (s *served) stop(t *testing.T) string {
	t.Helper()
	s.end()
	select {
	case status := <-s.ended:
		if status != 0 && status != 130 {
			t.Errorf("exit status %d: %s", status, s.err.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("serve does not end")
	}
	if most := s.heap(); most > 300<<20 {
		t.Errorf("the heap grew by %d MB", most>>20)
	}
	if err := goleak.Find(s.before); err != nil {
		t.Errorf("goroutines are left: %.3000v", err)
	}
	return s.err.String()
}
