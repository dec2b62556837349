package peer

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Listener returns this process for each address at which one of its listeners prevents
// others from listening.
func TestListener(t *testing.T) {
	for _, tt := range []struct{ listen, asked string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"[::]:0", "127.0.0.1"},
	} {
		l := listen(t, "tcp", tt.listen)
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		p, ok := Listener(netip.AddrPortFrom(netip.MustParseAddr(tt.asked), port))
		checkSelf(t, tt.asked, p, ok)
		if !strings.Contains(p.Command, "peer.test") || strings.Contains(p.Command, "\x00") {
			t.Errorf("command line %q", p.Command)
		}
		l.Close()
		if p, ok := Listener(netip.AddrPortFrom(netip.MustParseAddr(tt.asked), port)); ok {
			t.Errorf("found %v for %s, though the listener is closed", p, tt.asked)
		}
	}
	l := listen(t, "tcp", "127.0.0.2:0")
	if p, ok := Listener(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(l.Addr().(*net.TCPAddr).Port))); ok {
		t.Errorf("a listener on another address: %v", p)
	}
}

// checkSelf checks that p is this process.
func checkSelf(t *testing.T, what string, p Process, ok bool) {
	t.Helper()
	if !ok {
		t.Errorf("%s: no process found", what)
		return
	}
	if p.PID != os.Getpid() {
		t.Errorf("%s: found %v, want pid %d", what, p, os.Getpid())
	}
}

func TestServer(t *testing.T) {
	l := listen(t, "unix", filepath.Join(t.TempDir(), "socket"))
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, ok := Server(conn.(*net.UnixConn))
	checkSelf(t, "the server", p, ok)
}

// Client returns this process for connections that it has made.
func TestClient(t *testing.T) {
	for network, addr := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		l := listen(t, network, addr)
		dialled, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p, ok := Client(accepted)
		checkSelf(t, network, p, ok)
		dialled.Close()
		accepted.Close()
		if p, ok := Client(accepted); ok {
			t.Errorf("%s: found %v for a closed connection", network, p)
		}
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if p, ok := Client(one); ok {
		t.Errorf("found %v for a pipe", p)
	}
}

func TestCommandLine(t *testing.T) {
	if c := commandLine(os.Getpid()); c == "?" || len(c) > maxCommandLine+len("…") {
		t.Errorf("this process: %q, want at most %d bytes", c, maxCommandLine)
	}
	if c := commandLine(1 << 30); c != "?" {
		t.Errorf("a missing process: %q, want ?", c)
	}
}
