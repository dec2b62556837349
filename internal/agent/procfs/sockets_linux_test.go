package procfs

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestFindListener(t *testing.T) {
	for network, listen := range map[string]string{
		"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "tcp": "0.0.0.0:0", "unix": filepath.Join(t.TempDir(), "a socket"),
	} {
		ln, err := net.Listen(network, listen)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addr := ln.Addr().String()
		switch network {
		case "unix":
			addr = "unix:" + addr
		case "tcp":
			addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(ln.Addr().(*net.TCPAddr).Port)).String()
		}
		for clients := range 3 {
			l, err := FindListener(addr)
			if err != nil {
				t.Fatalf("%s with %d clients: %v", addr, clients, err)
			}
			testenv.Equal(t, addr, l, Listener{PID: os.Getpid(), UID: uint32(os.Geteuid()), Args: os.Args, Clients: clients})
			conn, err := net.Dial(ln.Addr().Network(), strings.TrimPrefix(addr, "unix:"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
		}
		ln.Close()
		if _, err := FindListener(addr); !errors.Is(err, ErrNoListener) {
			t.Errorf("%s, closed: %v", addr, err)
		}
	}
	for _, addr := range []string{"", "4000", ":4000", "localhost:4000", "10.0.0.1:4000", "0.0.0.0:4000", "127.0.0.1:0", "127.0.0.1:x"} {
		if l, err := FindListener(addr); err == nil || errors.Is(err, ErrNoListener) {
			t.Errorf("%q: %+v, %v", addr, l, err)
		}
	}
}

// TestListening finds the sockets on which this process listens among its
// other sockets and those of others.
func TestListening(t *testing.T) {
	path, abstract := filepath.Join(t.TempDir(), "a socket"), "@target-test-"+strconv.Itoa(os.Getpid())
	want := []string{abstract, path}
	slices.Sort(want)
	for network, name := range map[string]string{"unix": path, "unixpacket": abstract} {
		ln, err := net.Listen(network, name)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		conn, err := net.Dial(network, name)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := ln.Accept() // with the same name
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
	}
	ours := func(pid int) []string {
		names, err := ListUnixListeners(pid)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	if got := ours(os.Getpid()); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	sleeper := start(t, exec.Command(exetest.Build(t, "sleeper"), "1"))
	if got := ours(sleeper); len(got) > 0 {
		t.Errorf("another process: %q", got)
	}
}

func TestNamedListeners(t *testing.T) {
	const table = `Num       RefCount Protocol Flags    Type St Inode Path
000000001ffed072: 00000002 00000000 00010000 0001 01 159117 /run/containerd/containerd.sock
00000000c1ddf385: 00000002 00000000 00010000 0005 01 1 @abstract
0000000079be0d6c: 00000003 00000000 00000000 0001 03 1069 /run/connected.sock
00000000ee355c20: 00000002 00000000 00010000 0001 01 7 /run/a b@c.sock
00000000ee355c21: 00000002 00000000 00010000 0001 01 8
/run/forged
`
	want := []namedListener{{"159117", "/run/containerd/containerd.sock"}, {"1", "@abstract"}, {"7", "/run/a b@c.sock"}}
	if got := parseNamedListeners([]byte(table)); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func FuzzSockets(f *testing.F) {
	f.Add([]byte("   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0"), "/run/x")
	f.Add([]byte("0000000000000000: 00000002 00000000 00010000 0001 01 4712 /run/x"), "/run/x")
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		parseTCPSockets(text, netip.MustParseAddrPort("127.0.0.1:4000"))
		parseUnixSockets(text, path)
		for _, l := range parseNamedListeners(text) {
			if l.inode == "" || l.name == "" {
				t.Errorf("%+v", l)
			}
		}
	})
}
