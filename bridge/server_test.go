package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is a running Server.
type testServer struct {
	srv    *Server
	t      testing.TB
	ln     net.Listener
	log    *testenv.Buffer
	dial   func() (net.Conn, error)
	cancel context.CancelFunc
	served chan error // Serve's result
	once   sync.Once
}

// serve runs a Server on a loopback port. When the test ends, Serve must return and
// leave no goroutine or file descriptor behind.
func serve(t testing.TB, c Config) *testServer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // the descriptors that the runtime opened for its first socket stay open
	checkLeaks(t)
	return serveTCP(t, c)
}

func serveTCP(t testing.TB, c Config) *testServer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, c, ln, func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) })
}

// servePiped runs a Server whose connections are unbuffered pipes, for use in a
// synctest bubble, which fails the test if a goroutine is left.
func servePiped(t testing.TB, c Config) *testServer {
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	return serveOn(t, c, ln, ln.dial)
}

func serveOn(t testing.TB, c Config, ln net.Listener, dial func() (net.Conn, error)) *testServer {
	ctx, cancel := context.WithCancel(context.Background())
	s := &testServer{t: t, ln: ln, log: &testenv.Buffer{}, dial: dial, cancel: cancel, served: make(chan error, 1)}
	c.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.srv = NewServer(c)
	go func() { s.served <- s.srv.Serve(ctx, ln) }()
	t.Cleanup(s.stop)
	return s
}

// stop ends Serve, which must return nil.
func (s *testServer) stop() {
	s.t.Helper()
	s.once.Do(func() {
		s.cancel()
		select {
		case err := <-s.served:
			if err != nil {
				s.t.Errorf("Serve returned %v", err)
			}
		case <-time.After(testTimeout):
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			s.t.Fatal("Serve does not return")
		}
	})
}

func (s *testServer) dialIDE() ide {
	s.t.Helper()
	conn, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	return ide{newWire(s.t, conn)}
}

// waitForLog waits until the log has a line that contains all of texts.
func (s *testServer) waitForLog(texts ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for line := range strings.Lines(s.log.String()) {
			if containsAll(line, texts) {
				return
			}
		}
	}
	s.t.Errorf("no line with %q in the log:\n%s", texts, s.log)
}

func containsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// checkLeaks fails the test if it leaves a goroutine or a descriptor behind.
func checkLeaks(t testing.TB) {
	before := openFiles()
	t.Cleanup(func() {
		goleak.VerifyNone(t)
		if after := openFiles(); len(after) != len(before) {
			t.Errorf("descriptors before: %q, and after: %q", before, after)
		}
	})
}

// openFiles lists this process's file descriptors, where that is possible.
func openFiles() (files []string) {
	if runtime.GOOS != "linux" {
		return nil
	}
	names, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil { // not Glob's own
			files = append(files, filepath.Base(name)+" "+to)
		}
	}
	return files
}

// pipeListener accepts pipes.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

func (l *pipeListener) dial() (net.Conn, error) {
	theirs, ours := net.Pipe()
	select {
	case l.conns <- ours:
		return theirs, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func TestCheckPeer(t *testing.T) {
	n := newNode(t)
	var accept atomic.Bool
	srv := serve(t, Config{Dialer: n, CheckPeer: func(net.Conn) error {
		if !accept.Load() {
			return errors.New("the peer is another user")
		}
		return nil
	}})
	i := srv.dialIDE()
	i.expectEnd()
	srv.waitForLog("connection refused", "the peer is another user", i.conn.LocalAddr().String())
	accept.Store(true)
	srv.dialIDE().initialize()
}

// A peer that breaks the protocol loses its connection, and affects no other.
func TestMalformedPeers(t *testing.T) {
	const ok = `{"seq":1,"type":"request","command":"threads"}`
	n := newNode(t)
	srv := serve(t, Config{Dialer: n, MaxBody: 64 << 10})
	good := srv.dialIDE()
	s := good.attach(n)
	for _, c := range []struct{ name, bytes, log string }{
		{"HTTP", "GET / HTTP/1.1\r\nHost: localhost:4040\r\n\r\n", "HTTP"},
		{"HTTP with a message", "POST / HTTP/1.1\r\nContent-Length: 46\r\n\r\n" + ok, "HTTP"},
		{"header too large", "X: " + strings.Repeat("x", maxHeader) + "\r\n", "header is too large"},
		{"many header lines", strings.Repeat("X: y\r\n", maxHeader/6+1), "header is too large"},
		{"body too large", "Content-Length: 65537\r\n\r\n", "too large"},
		{"length of no number", "Content-Length: x\r\n\r\n", "Content-Length"},
		{"length beyond 64 bits", "Content-Length: 99999999999999999999\r\n\r\n", "Content-Length"},
		{"negative length", "Content-Length: -1\r\n\r\n", "Content-Length"},
		{"two lengths", "Content-Length: 46\r\nContent-Length: 46\r\n\r\n" + ok, "twice"},
		{"no length", "X: y\r\n\r\n", "Content-Length"},
		{"no CR", "Content-Length: 46\n\n" + ok, "malformed"},
		{"no field", "nonsense\r\n\r\n", "malformed"},
		{"no JSON", frameMessage("Hello"), "not a JSON object"},
		{"empty", frameMessage(""), "not a JSON object"},
		{"JSON without an object", frameMessage(`[1,2]`), "not a JSON object"},
		{"two objects", frameMessage(ok + ok), "malformed JSON"},
		{"unfinished object", frameMessage(`{"seq":1,"type":"request"`), "malformed JSON"},
		{"not UTF-8 but a control character", frameMessage("{\"seq\":1,\"type\":\"req\x01uest\"}"), "malformed JSON"},
		{"seq a string", frameMessage(`{"seq":"1","type":"request","command":"threads"}`), "seq"},
		{"seq with a fraction", frameMessage(`{"seq":1.5,"type":"request","command":"threads"}`), "seq"},
		{"command a number", frameMessage(`{"seq":1,"type":"request","command":5}`), "command"},
		{"type an object", frameMessage(`{"seq":1,"type":{},"command":"threads"}`), "type"},
		{"command twice", frameMessage(`{"seq":1,"type":"request","command":"threads","command":"restart"}`), "twice"},
		{"command of another case", frameMessage(`{"seq":1,"type":"request","command":"threads","Command":"restart"}`), "Command"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := srv.dialIDE()
			bad.sendBytes(c.bytes)
			bad.expectEnd()
			srv.waitForLog("level=WARN", "connection closed", bad.conn.LocalAddr().String(), c.log)
			good.roundTrip(s)
		})
	}
	if n.dials.Load() != 1 {
		t.Errorf("%d sessions were dialed", n.dials.Load())
	}
}

// A connection that breaks off is closed too; a silent one is not an error.
func TestTruncatedMessages(t *testing.T) {
	n := newNode(t)
	srv := serve(t, Config{Dialer: n})
	good := srv.dialIDE()
	s := good.attach(n)
	for _, part := range []string{"Cont", "Content-Length: 5\r\n", "Content-Length: 5\r\n\r\n", "Content-Length: 5\r\n\r\n{}"} {
		bad := srv.dialIDE()
		bad.sendBytes(part)
		bad.conn.(*net.TCPConn).CloseWrite()
		bad.expectEnd()
		srv.waitForLog("connection closed", "unexpected EOF", bad.conn.LocalAddr().String())
		good.roundTrip(s)
	}
	silent := srv.dialIDE()
	silent.conn.(*net.TCPConn).CloseWrite()
	silent.expectEnd()
	peer := silent.conn.LocalAddr().String()
	srv.waitForLog("level=DEBUG", "msg=closed", peer)
	for line := range strings.Lines(srv.log.String()) {
		if containsAll(line, []string{"level=WARN", peer}) {
			t.Errorf("a fault was logged: %s", line)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	checkLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		testenv.Skipf(t, "no unix sockets here: %v", err)
	}
	n := newNode(t)
	srv := serveOn(t, Config{Dialer: n}, ln, func() (net.Conn, error) { return net.Dial("unix", path) })
	first, second := srv.dialIDE(), srv.dialIDE()
	s := first.attach(n)
	first.roundTrip(s)
	second.initialize()
	second.expectRefusal(second.request("attach", "{}"), "attach", "Visual Studio Code (local) has held the session")
	first.disconnect()
	s.waitEnded()
}

// A client that checks the protocol strictly finds no errors.
func TestStrictClient(t *testing.T) {
	n := newNode(t)
	srv := serve(t, Config{Dialer: n})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	c, err := dapclient.Dial(ctx, "tcp", srv.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nodeDone := make(chan struct{})
	go func() {
		defer close(nodeDone)
		s := n.nextSession()
		s.accept()
		for _, command := range []string{"setExceptionBreakpoints", "configurationDone", "threads"} {
			s.respond(s.expect("request", command), `{"threads":[]}`)
		}
		s.event("stopped", `{"reason":"pause","threadId":1}`)
	}()
	if _, err := c.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Error(err)
	}
	<-nodeDone
	if _, err := c.WaitStopped(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Disconnect(ctx, true); err != nil {
		t.Error(err)
	}
	if _, err := c.WaitEvent(ctx, "terminated", nil); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// faultyListener fails a set number of times.
type faultyListener struct {
	net.Listener
	faults int
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if l.faults > 0 {
		l.faults--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestServeOutlivesFaultsOfTheListener(t *testing.T) {
	checkLeaks(t)
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := serveOn(t, Config{Dialer: newNode(t)}, &faultyListener{ln, 2}, ln.dial)
	srv.dialIDE().initialize()
	srv.waitForLog("level=WARN", "too many open files")
}

// A listener that somebody else closes ends Serve, and the session with it.
func TestServeEndsWithItsListener(t *testing.T) {
	checkLeaks(t)
	n := newNode(t)
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := serveOn(t, Config{Dialer: n}, ln, ln.dial)
	i := srv.dialIDE()
	s := i.attach(n)
	ln.Close()
	i.expectEnd()
	s.waitEnded()
	if err := <-srv.served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
	srv.served <- nil
}

// wrapListener wraps the connections that it accepts.
type wrapListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c = l.wrap(c)
	}
	return c, err
}

// Serve returns only after every goroutine that it started, even a slow one.
func TestServeJoinsWhatItStarted(t *testing.T) {
	release := make(chan struct{})
	lateWrite := func(c net.Conn) net.Conn {
		return hookedConn{Conn: c, write: func(p []byte) (int, error) {
			n, err := c.Write(p)
			if err != nil {
				<-release
			}
			return n, err
		}}
	}
	lateRead := func(c net.Conn) net.Conn {
		return hookedConn{Conn: c, read: func(p []byte) (int, error) {
			n, err := c.Read(p)
			if err != nil {
				<-release
			}
			return n, err
		}}
	}
	asIs := func(c net.Conn) net.Conn { return c }
	for name, c := range map[string]struct{ ide, node func(net.Conn) net.Conn }{
		"read the IDE":   {lateRead, asIs},
		"write the IDE":  {lateWrite, asIs},
		"read the node":  {asIs, lateRead},
		"write the node": {asIs, lateWrite},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release = make(chan struct{})
				n := newNode(t)
				n.wrap = c.node
				ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				srv := serveOn(t, Config{Dialer: n}, wrapListener{ln, c.ide}, ln.dial)
				i := srv.dialIDE()
				s := i.attach(n)
				i.request("threads", "") // the bridge is about to write to both
				s.send(`{"seq":9,"type":"event","event":"x"}`)
				synctest.Wait()
				srv.cancel()
				synctest.Wait()
				select {
				case <-srv.served:
					t.Error("Serve returned too early")
					srv.served <- nil
				default:
				}
				close(release)
			})
		})
	}
}

// A peer to which writing fails counts as disconnected, even if reading still works.
func TestPeersThatCannotBeWrittenTo(t *testing.T) {
	var broken atomic.Bool
	mayBreak := func(c net.Conn) net.Conn {
		return hookedConn{Conn: c, write: func(p []byte) (int, error) {
			if broken.Load() {
				return 0, errors.New("no route to host")
			}
			return c.Write(p)
		}}
	}
	t.Run("IDE", func(t *testing.T) {
		broken.Store(false)
		checkLeaks(t)
		ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		n := newNode(t)
		srv := serveOn(t, Config{Dialer: n}, wrapListener{ln, mayBreak}, ln.dial)
		s := srv.dialIDE().attach(n)
		broken.Store(true)
		s.event("x", "")
		s.waitEnded()
		srv.waitForLog("level=WARN", "write to the client failed", "no route to host")
	})
	t.Run("node", func(t *testing.T) {
		broken.Store(false)
		n := newNode(t)
		n.wrap = mayBreak
		srv := serve(t, Config{Dialer: n})
		i := srv.dialIDE()
		s := i.attach(n)
		broken.Store(true)
		i.request("threads", "")
		i.expectConsole("the node ended the session")
		i.expect("event", "terminated")
		s.waitEnded()
		srv.waitForLog("level=WARN", "connection to the node failed", "no route to host")
	})
}

func TestServeWithContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	if err := NewServer(Config{Dialer: newNode(t)}).Serve(ctx, ln); err != nil {
		t.Error(err)
	}
}

// BenchmarkRelay measures one small request and its response through the
// bridge, both ends in this process.
func BenchmarkRelay(b *testing.B) {
	b.Run("TCP", func(b *testing.B) {
		n := newNode(b)
		benchRelay(b, serveTCP(b, Config{Dialer: n}), n)
	})
	b.Run("pipe", func(b *testing.B) {
		n := newNode(b)
		benchRelay(b, servePiped(b, Config{Dialer: n}), n)
	})
}

func benchRelay(b *testing.B, srv *testServer, n *scriptedNode) {
	i := srv.dialIDE()
	s := i.attach(n)
	i.conn.SetDeadline(time.Time{})
	s.conn.SetDeadline(time.Time{})
	go echo(s.conn)
	request := []byte(frameMessage(`{"command":"scopes","arguments":{"frameId":1000},"type":"request","seq":12}`))
	in := newFrameReader(i.conn, maxHeader, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := in.read(); err != nil {
			b.Fatal(err)
		}
	}
}

// echo answers requests until the stream ends.
func echo(conn net.Conn) {
	in, out := newFrameReader(conn, maxHeader, 1<<20), newFrameWriter(conn)
	for {
		body, err := in.read()
		if err != nil {
			return
		}
		env, err := scanEnvelope(body)
		if err != nil {
			return
		}
		out.write(fmt.Appendf(nil, `{"seq":1,"type":"response","request_seq":%d,"success":true,"command":"scopes","body":{"scopes":[{"name":"Locals","variablesReference":1000,"expensive":false}]}}`, env.Seq))
	}
}
