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

// TestHostileSession serves nodes that attach and then misbehave in the session's
// channel: the session ends, or the IDE can end it, and the daemon serves the next
// client.
func TestHostileSession(t *testing.T) {
	frame := func(body string) string { return string(dapclient.Frame([]byte(body))) }
	for name, join := range map[string]func(io.ReadWriter) int{
		"closes at once":       printAndExit("", -1),
		"ends at once":         printAndExit("", 7),
		"sends nothing":        leaveOpen(printAndHang("")),
		"no framing":           printForever("", "Segmentation fault\n"),
		"a header without end": printForever("", "x"),
		"a huge length":        leaveOpen(printAndHang("Content-Length: 9223372036854775807\r\n\r\n{")),
		"a negative length":    leaveOpen(printAndHang("Content-Length: -1\r\n\r\n{")),
		"a large length":       printForever("Content-Length: 4294967296\r\n\r\n", "x"),
		"no JSON":              leaveOpen(printAndHang(frame("hello"))),
		"deep JSON":            leaveOpen(printAndHang(frame(strings.Repeat(`{"a":`, 1<<20)))),
		"reverse requests":     printForever("", frame(`{"seq":1,"type":"request","command":"runInTerminal","arguments":{"cwd":"/","args":["touch","/tmp/owned"]}}`)),
		"answers":              printForever("", frame(`{"seq":1,"type":"response","request_seq":31337,"success":true,"command":"`+evil+`"}`)),
		"events":               printForever("", frame(`{"seq":1,"type":"event","event":"`+evil+`","body":{"text":"`+evil+`"}}`)),
		"an evil refusal":      leaveOpen(refuseAttach),
	} {
		t.Run(name, func(t *testing.T) {
			n := &hostileNode{join: join, start: (&scriptedAgent{
				hello:   helloWith(aTarget),
				answers: map[string]string{"attach": "{" + aTarget + "}", "end": "{}", "sources": packSources(`{}`), "optimisation": "{}"},
			}).run}
			n.serve(t)
			s := startServe(t, n)
			s.attachAndGiveUp(t)
			next := dapclient.New(s.dial(t))
			if _, err := next.Initialize(t.Context()); err != nil {
				t.Errorf("the next client: %v", err)
			}
			next.Close()
			checkHarmless(t, s.stop(t))
		})
	}
}

// refuseAttach refuses attach with an error that contains terminal control characters.
func refuseAttach(rw io.ReadWriter) int {
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

// serveProcess is a `dapbridge serve` that runs in this process.
type serveProcess struct {
	addr   string
	end    context.CancelFunc
	ended  chan int
	err    stream
	before goleak.Option
	heap   func() uint64
}

func startServe(t *testing.T, n *hostileNode) *serveProcess {
	t.Helper()
	n.setenv(t)
	s := &serveProcess{ended: make(chan int, 1), before: goleak.IgnoreCurrent(), heap: watchHeap()}
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

func (s *serveProcess) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// attachAndGiveUp acts as an IDE that requests a session, reads for one second, and
// closes the connection.
func (s *serveProcess) attachAndGiveUp(t *testing.T) {
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
		t.Errorf("got no answer to initialize: %v", err)
	}
}

// stop ends serve like Ctrl-C, and returns what it has written.
func (s *serveProcess) stop(t *testing.T) string {
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
