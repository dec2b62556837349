package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// rpcWire is [wire] for JSON-RPC.
type rpcWire struct {
	t      testing.TB
	conn   net.Conn
	r      *bufio.Reader
	values *requestReader // reads at the node's end; the client's end reads lines, as some clients do
}

func newRPCWire(t testing.TB, conn net.Conn) rpcWire {
	t.Cleanup(func() { conn.Close() })
	return rpcWire{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (s *testServer) dialRPC() rpcWire {
	s.t.Helper()
	conn, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	return newRPCWire(s.t, conn)
}

// nextRPCSession returns the node's end of the next session, which must speak JSON-RPC.
func (n *scriptedNode) nextRPCSession() (rpcWire, *nodeSession) {
	n.t.Helper()
	s := n.nextSession()
	if s.protocol != RPC {
		n.t.Error("the session was dialed for another protocol")
	}
	return rpcWire{n.t, s.conn, s.r, newRequestReader(s.r, 8<<20)}, s
}

func (w rpcWire) send(raw string) {
	w.t.Helper()
	if w.values != nil {
		raw += "\n" // as the node ends an answer
	}
	w.conn.SetWriteDeadline(time.Now().Add(testTimeout))
	if _, err := io.WriteString(w.conn, raw); err != nil {
		w.t.Fatalf("send %.200q: %v", raw, err)
	}
}

func (w rpcWire) next() string {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(testTimeout))
	if w.values != nil {
		value, err := w.values.read()
		if err != nil {
			w.t.Fatalf("the next message: %v", err)
		}
		return string(value)
	}
	line, err := w.r.ReadString('\n')
	if err != nil {
		w.t.Fatalf("the next message: %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (w rpcWire) expect(want string) {
	w.t.Helper()
	if got := w.next(); got != want {
		w.t.Fatalf("got  %.300s\nwant %.300s", got, want)
	}
}

// expectRefusal expects an error with the text as the answer to a request.
func (w rpcWire) expectRefusal(id, text string) {
	w.t.Helper()
	got := w.next()
	var m struct{ Error string }
	if want := `{"id":` + id + `,"result":null,"error":"`; !strings.HasPrefix(got, want) {
		w.t.Fatalf("got %.300s, want it to start with %s", got, want)
	}
	if err := json.Unmarshal([]byte(got), &m); err != nil {
		w.t.Fatalf("%.300s: %v", got, err)
	}
	if !strings.Contains(m.Error, text) {
		w.t.Fatalf("request %s is refused with %q, want %q in it", id, m.Error, text)
	}
}

func (w rpcWire) expectEnd() {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(testTimeout))
	if line, err := w.r.ReadString('\n'); err == nil {
		w.t.Fatalf("got %.300s, want the end", line)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.t.Fatal("the connection is still open")
	}
}

// rpcRequest returns a request with one parameter.
func rpcRequest(id, method, param string) string {
	return fmt.Sprintf(`{"method":"RPCServer.%s","params":[%s],"id":%s}`, method, param, id)
}

func newTestMap(t testing.TB, rules ...pathmap.Rule) *pathmap.Map {
	t.Helper()
	m, err := pathmap.New(rules...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// attachRPC attaches the client w to the node n, and plays the node's part too.
func attachRPC(w rpcWire, n *scriptedNode) (rpcWire, *nodeSession) {
	w.t.Helper()
	version := rpcRequest("0", "SetApiVersion", `{"APIVersion":2}`)
	w.send(version)
	node, s := n.nextRPCSession()
	node.expect(version)
	node.send(`{"id":0,"result":{},"error":null}`)
	w.expect(`{"id":0,"result":{},"error":null}`)
	return node, s
}

func TestRPCRelay(t *testing.T) {
	n := newNode(t)
	n.paths = newTestMap(t, pathmap.Rule{Host: "/home/me/src", Node: "/go/src"})
	s := serve(t, Config{Dialer: n})
	w := s.dialRPC()
	node, sess := attachRPC(w, n)
	for _, tt := range []struct{ request, seen, answer, got string }{
		{ // unchanged, whatever the id
			`{"method" : "RPCServer.ListSources","params":[{"Filter":"/home/me/src"}], "jsonrpc":"2.0","id":"a<\u0062>"}`,
			`{"method" : "RPCServer.ListSources","params":[{"Filter":"/home/me/src"}], "jsonrpc":"2.0","id":"a<\u0062>"}`,
			`{"id":"a<\u0062>","result":{"Sources":["/go/src/a.go","/usr/go/b.go"]},"error":null}`,
			`{"id":"a<\u0062>","result":{"Sources":["/home/me/src/a.go","/usr/go/b.go"]},"error":null}`,
		},
		{
			rpcRequest("1e3", "CreateBreakpoint", `{"Breakpoint":{"file":"/home/me/src/a.go","line":3},"LocExpr":"/home/me/src/a.go:3","SubstitutePathRules":[["/go/src","/home/me/src"]],"Suspended":false}`),
			rpcRequest("1e3", "CreateBreakpoint", `{"Breakpoint":{"file":"/go/src/a.go","line":3},"LocExpr":"/go/src/a.go:3","Suspended":false}`),
			`{"id":1e3,"result":{"Breakpoint":{"id":1,"file":"/go/src/a.go"}},"error":null}`,
			`{"id":1e3,"result":{"Breakpoint":{"id":1,"file":"/home/me/src/a.go"}},"error":null}`,
		},
		{ // a path that the bridge does not map may be mapped by the client's own rules
			rpcRequest("2", "FindLocation", `{"Loc":"/opt/x.go:1","SubstitutePathRules":[["/usr/x","/opt"]]}`),
			rpcRequest("2", "FindLocation", `{"Loc":"/opt/x.go:1","SubstitutePathRules":[["/usr/x","/opt"]]}`),
			`{"id":2,"result":null,"error":"could not find /opt/x.go"}`,
			`{"id":2,"result":null,"error":"could not find /opt/x.go"}`,
		},
		{`{"method":"RPCServer.GetVersion"}`, `{"method":"RPCServer.GetVersion"}`, `{"id":null,"result":{},"error":null}`, `{"id":null,"result":{},"error":null}`},
		{ // large
			rpcRequest("3", "ListSources", `{}`),
			rpcRequest("3", "ListSources", `{}`),
			`{"id":3,"result":{"Sources":["` + strings.Repeat(`/go/src/a.go","/usr/b.go","`, 50_000) + `"]},"error":null}`,
			`{"id":3,"result":{"Sources":["` + strings.Repeat(`/home/me/src/a.go","/usr/b.go","`, 50_000) + `"]},"error":null}`,
		},
	} {
		w.send(tt.request)
		node.expect(tt.seen)
		node.send(tt.answer)
		w.expect(tt.got)
	}
	// Several requests are pending, two with the same id, and answered out of order.
	w.send(rpcRequest("7", "Command", `{"name":"continue"}`) + rpcRequest("7", "State", `{"NonBlocking":true}`) + rpcRequest("8", "Command", `{"name":"halt"}`))
	node.next()
	node.next()
	node.next()
	for _, id := range []string{"8", "7", "7"} {
		node.send(`{"id":` + id + `,"result":{"State":{}},"error":null}`)
		w.expect(`{"id":` + id + `,"result":{"State":{}},"error":null}`)
	}
	// Unexpected answers are dropped.
	node.send(`{"id":7,"result":{},"error":null}` + "\n" + `{"method":"runInTerminal","params":[{}],"id":7}` + "\n" + `{"id":0,"result":{},"error":null}`)
	w.send(rpcRequest("9", "GetVersion", "{}"))
	node.next()
	node.send(`{"method":"RPCServer.GetVersion","id":9}`)
	s.waitForLog("unexpected answer", "id=9")
	w.send(rpcRequest("10", "GetVersion", "{}"))
	node.next()
	node.send(`{"id":10,"result":{},"error":null}`)
	w.expect(`{"id":10,"result":{},"error":null}`)
	w.conn.Close()
	sess.waitEnded()
}

// TestRPCNoVariables is TestNoVariables for a JSON-RPC client.
func TestRPCNoVariables(t *testing.T) {
	n := newNode(t)
	n.target.NoVariables = "no debug information, so no variables: run dapbridge symbols"
	w := serve(t, Config{Dialer: n}).dialRPC()
	node, _ := attachRPC(w, n)
	for request, want := range map[string]string{
		rpcRequest("1", "Eval", `{"Expr":"x"}`):                    n.target.NoVariables,
		rpcRequest("1", "Command", `{"name":"call","expr":"f()"}`): n.target.NoVariables,
		rpcRequest("1", "Command", `{"name":"next"}`):              "not possible",
		rpcRequest("1", "Stacktrace", `{}`):                        "not possible",
	} {
		w.send(request)
		node.expect(request)
		node.send(`{"id":1,"result":null,"error":"not possible"}`)
		w.expectRefusal("1", want)
	}
	w.send(rpcRequest("2", "Eval", `{"Expr":"RAX"}`))
	node.next()
	node.send(`{"id":2,"result":{},"error":null}`)
	w.expect(`{"id":2,"result":{},"error":null}`)
}

func TestRPCRefused(t *testing.T) {
	n := newNode(t)
	s := serve(t, Config{Dialer: n})
	w := s.dialRPC()
	for id, tt := range []struct{ request, why string }{
		{`"method":"RPCServer.Restart","params":[{}]`, "the target belongs to the node"},
		{`"method":"RPCServer.Recorded","params":[{}]`, "not a recording"},
		{`"method":"RPCServer.StopRecording","params":[{}]`, "not a recording"},
		{`"method":"RPCServer.Checkpoint","params":[{}]`, "not a recording"},
		{`"method":"RPCServer.ListCheckpoints","params":[{}]`, "not a recording"},
		{`"method":"RPCServer.ClearCheckpoint","params":[{}]`, "not a recording"},
		{`"method":"RPCServer.DumpStart","params":[{"Destination":"/etc/passwd"}]`, "core dumps"},
		{`"method":"RPCServer.DumpWait","params":[{}]`, "core dumps"},
		{`"method":"RPCServer.DumpCancel","params":[{}]`, "core dumps"},
		{`"method":"RPCServer.FollowExec","params":[{"Enable":true}]`, "not followed"},
		{`"method":"RPCServer.CreateEBPFTracepoint","params":[{}]`, "eBPF"},
		{`"method":"RPCServer.CreateWatchpoint","params":[{}]`, "debug registers"},
		{`"method":"RPCServer.SetExecutionPoint","params":[{}]`, "jumps"},
		{`"method":"RPCServer.DownloadLibraryDebugInfo","params":[{}]`, "not downloaded"},
		{`"method":"RPCServer.DebugInfoDirectories","params":[{"Set":true,"List":["/"]}]`, "cannot be set"},
		{`"method":"RPCServer.DebugInfoDirectories","params":[{"set":true}]`, "cannot be set"}, // as Delve's decoder reads it
		{`"method":"RPCServer.DebugInfoDirectories","params":7`, "cannot be set"},
		{`"method":"RPCServer.Command","params":[{"name":"rewind"}]`, "cannot run backwards"},
		{`"method":"RPCServer.Command","params":[{"name":"continue","Name":"reverseNext"}]`, "cannot run backwards"},
		{`"method":"RPCServer.Command","params":[{"name":"explode"}]`, `unknown command "explode"`},
		{`"method":"RPCServer.Command","params":[]`, "unknown command"},
		{`"method":"RPCServer.Command","params":{"name":"halt"}`, "cannot read"},
		{`"method":"RPCServer.Explode","params":[{}]`, "method not found: RPCServer.Explode"},
		{`"method":"Restart","params":[{}]`, "method not found: Restart"},
		{`"method":"State","params":[{}]`, "method not found: State"},
		{`"method":""`, "method not found"},
	} {
		w.send(fmt.Sprintf(`{%s,"id":%d}`, tt.request, id))
		w.expectRefusal(fmt.Sprint(id), tt.why)
	}
	w.send(rpcRequest("1", "GuessSubstitutePath", `{"Args":{}}`))
	w.expect(`{"id":1,"result":{"List":null},"error":null}`)
	w.send(rpcRequest("2", "Detach", `{}`))
	w.expect(`{"id":2,"result":{},"error":null}`)
	w.expectEnd()
	if n.dials.Load() != 0 {
		t.Error("the node was made to attach")
	}
}

func TestRPCDetach(t *testing.T) {
	for _, kill := range []bool{true, false} {
		t.Run(fmt.Sprintf("kill %v", kill), func(t *testing.T) {
			n := newNode(t)
			s := serve(t, Config{Dialer: n})
			w := s.dialRPC()
			node, sess := attachRPC(w, n)
			w.send(rpcRequest(`"c"`, "Command", `{"name":"continue"}`))
			node.next()
			w.send(rpcRequest("2", "Detach", fmt.Sprintf(`{"Kill":%v}`, kill)) + rpcRequest("3", "GetVersion", "{}"))
			w.expectRefusal(`"c"`, "the client ended the session")
			w.expect(`{"id":2,"result":{},"error":null}`)
			w.expectEnd()
			sess.waitEnded()
			if kill {
				s.waitForLog("level=WARN", "the target, which belongs to the node")
			}
			node.expectEnd()
		})
	}
}

func TestRPCDetachReportsError(t *testing.T) {
	n := newNode(t)
	n.end = func(context.Context) error { return errors.New("the node is not well") }
	w := serve(t, Config{Dialer: n}).dialRPC()
	attachRPC(w, n)
	w.send(rpcRequest("2", "Detach", `{}`))
	w.expectRefusal("2", "the node is not well")
	w.expectEnd()
}

// TestRPCAttachFails checks that requests during and after a failing attach are refused
// with the reason.
func TestRPCAttachFails(t *testing.T) {
	n := newNode(t)
	dialing, fail := make(chan bool), make(chan error)
	n.dial = func(context.Context) error { dialing <- true; return <-fail }
	w := serve(t, Config{Dialer: n}).dialRPC()
	w.send(rpcRequest("1", "SetApiVersion", "{}") + rpcRequest("2", "GetVersion", "{}"))
	<-dialing
	fail <- errors.New("no such target")
	w.expectRefusal("1", "no such target")
	w.expectRefusal("2", "no such target")
	w.send(rpcRequest("3", "GetVersion", "{}"))
	w.expectRefusal("3", "no such target")
	w.expectEnd()
}

// TestRPCClosedWhileAttaching closes the connection, or asks to detach, during an attach.
func TestRPCClosedWhileAttaching(t *testing.T) {
	for name, leave := range map[string]func(*testServer, rpcWire){
		"closed": func(s *testServer, w rpcWire) {
			w.conn.Close()
			s.waitForLog("msg=closed", w.conn.LocalAddr().String()) // until then the slot is taken
		},
		"detach": func(_ *testServer, w rpcWire) {
			w.send(rpcRequest("2", "Detach", "{}"))
			w.expectRefusal("1", "the client ended the session")
			w.expect(`{"id":2,"result":{},"error":null}`)
			w.expectEnd()
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			dialing := make(chan bool)
			n.dial = func(ctx context.Context) error {
				if n.dials.Load() > 1 {
					return nil
				}
				dialing <- true
				<-ctx.Done()
				return ctx.Err()
			}
			s := serve(t, Config{Dialer: n})
			w := s.dialRPC()
			w.send(rpcRequest("1", "GetVersion", "{}"))
			<-dialing
			leave(s, w)
			attachRPC(s.dialRPC(), n)
		})
	}
}

// TestRPCAndDAPShareTheSlot has clients of both protocols compete for the debugger.
func TestRPCAndDAPShareTheSlot(t *testing.T) {
	n := newNode(t)
	s := serve(t, Config{Dialer: n})
	w := s.dialRPC()
	_, sess := attachRPC(w, n)
	i := s.dialIDE()
	i.initialize()
	i.expectRefusal(i.request("attach", `{}`), "attach", "a Delve client (127.0.0.1:", "has held the session since")
	other := s.dialRPC()
	other.send(rpcRequest("1", "GetVersion", "{}"))
	other.expectRefusal("1", "has held the session since")
	other.expectEnd()
	w.conn.Close()
	sess.waitEnded()
	i = s.dialIDE()
	dap := i.attach(n)
	other = s.dialRPC()
	other.send(rpcRequest("1", "GetVersion", "{}"))
	other.expectRefusal("1", "Visual Studio Code (")
	i.conn.Close()
	dap.waitEnded()
	attachRPC(s.dialRPC(), n)
}

func TestRPCTakeover(t *testing.T) {
	n := newNode(t)
	s := serve(t, Config{Dialer: n, Takeover: true})
	w := s.dialRPC()
	node, sess := attachRPC(w, n)
	w.send(rpcRequest("1", "Command", `{"name":"continue"}`))
	node.next()
	i := s.dialIDE()
	dap := i.attach(n)
	w.expectRefusal("1", "took over the session")
	w.expectEnd()
	sess.waitEnded()
	attachRPC(s.dialRPC(), n)
	i.expectConsole("takes over the session")
	i.expect("event", "terminated")
	dap.waitEnded()
}

// TestRPCNodeEnds ends the node's stream, or sends something malformed on it.
func TestRPCNodeEnds(t *testing.T) {
	for name, last := range map[string]string{
		"end": "", "text": "panic: no", "array": "[]", "twice": `{"id":0,"id":1}`, "case": `{"ID":0}`, "deep": `{"id":` + strings.Repeat("[", 600),
		"behind": `{"id":0}{"id":0}`, "broken": `{"id":0,"result":{]}`,
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			s := serve(t, Config{Dialer: n})
			w := s.dialRPC()
			node, sess := attachRPC(w, n)
			w.send(rpcRequest("1", "Command", `{"name":"continue"}`))
			node.next()
			if last == "" {
				node.conn.Close()
			} else {
				node.send(last)
			}
			w.expectRefusal("1", "the node ended the session")
			sess.waitEnded()
			w.send(rpcRequest("2", "GetVersion", "{}"))
			w.expectRefusal("2", "the node ended the session")
			w.expectEnd()
		})
	}
}

// TestRPCMalformedClients checks that a malformed request ends the connection, and the
// session with it.
func TestRPCMalformedClients(t *testing.T) {
	for name, last := range map[string]string{
		"not JSON":      `{nonsense}`,
		"array":         `[]`,
		"no request":    `{"id":1,"result":{}}`,
		"method twice":  `{"method":"RPCServer.GetVersion","method":"RPCServer.Restart","id":1}`,
		"other case":    `{"method":"RPCServer.GetVersion","Method":"RPCServer.Restart","id":1}`,
		"method number": `{"method":7,"id":1}`,
		"too large":     `{"method":"RPCServer.GetVersion","params":["` + strings.Repeat("x", maxRPCRequest) + `"],"id":1}`,
		"too deep":      `{"method":"RPCServer.GetVersion","params":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `,"id":1}`,
		"never closed":  `{"method":"RPCServer.GetVersion","params":` + strings.Repeat("[", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			s := serve(t, Config{Dialer: n})
			w := s.dialRPC()
			_, sess := attachRPC(w, n)
			io.WriteString(w.conn, last) // the connection may be gone before all is written
			w.expectEnd()
			sess.waitEnded()
			s.waitForLog("level=WARN", "connection closed")
		})
	}
}

// TestRPCServerEnds ends the server while it has a session and a silent connection.
func TestRPCServerEnds(t *testing.T) {
	n := newNode(t)
	s := serve(t, Config{Dialer: n})
	silent, w := s.dialRPC(), s.dialRPC()
	_, sess := attachRPC(w, n)
	s.stop()
	sess.waitEnded()
	silent.expectEnd()
	w.expectEnd()
}

// TestRPCUnreadNode has a node that reads no requests.
func TestRPCUnreadNode(t *testing.T) {
	n := newNode(t)
	s := serve(t, Config{Dialer: n})
	w := s.dialRPC()
	_, sess := attachRPC(w, n)
	large := rpcRequest("1", "Eval", `{"Expr":"`+strings.Repeat("x", 3<<20)+`"}`)
	for range 24 { // more than the queue, a pending write and the system's buffers hold
		w.send(large)
	}
	w.expectRefusal("1", "the debugger does not read its requests")
	w.conn.Close()
	sess.waitEnded()
}

// TestRPCVectors replays client traffic from users' logs: the requests that a client
// sends, and what the node and the client must get.
func TestRPCVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/rpc/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v struct {
				About string
				Rules []string
				Steps []struct {
					Later                     bool // the answer comes after the next request
					Client, Node, Answer, Got json.RawMessage
				}
			}
			if err := json.Unmarshal(data, &v); err != nil {
				t.Fatal(err)
			}
			n := newNode(t)
			var rules []pathmap.Rule
			for _, rule := range v.Rules {
				r, err := pathmap.ParseRule(rule)
				if err != nil {
					t.Fatal(err)
				}
				rules = append(rules, r)
			}
			n.paths = newTestMap(t, rules...)
			w := serve(t, Config{Dialer: n}).dialRPC()
			var node rpcWire
			done := 0 // number of steps answered
			for i, step := range v.Steps {
				w.send(string(step.Client))
				if step.Node != nil {
					if node.conn == nil {
						node, _ = n.nextRPCSession()
					}
					node.expect(string(step.Node))
				}
				for ; !step.Later && done <= i; done++ {
					if earlier := v.Steps[done]; earlier.Node != nil {
						node.send(string(earlier.Answer))
					}
					w.expect(string(v.Steps[done].Got))
				}
			}
			w.expectEnd()
		})
	}
}
