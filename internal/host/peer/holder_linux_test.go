package peer

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListener names this process for each address that one of its listeners
// keeps from others.
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
		if !ok || p.PID != os.Getpid() || !strings.Contains(p.Command, "peer.test") || strings.Contains(p.Command, "\x00") {
			t.Errorf("%s holds %s: %v, %v", tt.listen, tt.asked, p, ok)
		}
		l.Close()
		if p, ok := Listener(netip.AddrPortFrom(netip.MustParseAddr(tt.asked), port)); ok {
			t.Errorf("nobody holds %s any more: %v", tt.asked, p)
		}
	}
	l := listen(t, "tcp", "127.0.0.2:0")
	if p, ok := Listener(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(l.Addr().(*net.TCPAddr).Port))); ok {
		t.Errorf("a listener on another address: %v", p)
	}
}

func TestServer(t *testing.T) {
	l := listen(t, "unix", filepath.Join(t.TempDir(), "socket"))
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p, ok := Server(conn.(*net.UnixConn)); !ok || p.PID != os.Getpid() {
		t.Errorf("%v, %v", p, ok)
	}
}

// TestClient names this process as the one that has connected.
func TestClient(t *testing.T) {
	for network, addr := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		l := listen(t, network, addr)
		there, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		here, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := Client(here); !ok || p.PID != os.Getpid() {
			t.Errorf("%s: %v, %v", network, p, ok)
		}
		there.Close()
		here.Close()
		if p, ok := Client(here); ok {
			t.Errorf("%s: of a closed connection: %v", network, p)
		}
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if p, ok := Client(one); ok {
		t.Errorf("of a pipe: %v", p)
	}
}

// TestCommand shortens what is long.
func TestCommand(t *testing.T) {
	if c := command(os.Getpid()); c == "?" || len(c) > commandLimit+len("…") {
		t.Errorf("this process is %q", c)
	}
	if c := command(1 << 30); c != "?" {
		t.Errorf("no process is %q", c)
	}
}
