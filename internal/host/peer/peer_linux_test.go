package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

const nobody = 65534

// TestMain makes the test binary the client, as another user, if PEER_TEST_DIAL is set to
// how it connects, the network and the address.
func TestMain(m *testing.M) {
	if how := os.Getenv("PEER_TEST_DIAL"); how != "" {
		if err := dial(strings.Fields(how)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// dial connects, sends a byte and blocks until standard input ends. Meanwhile the
// connection is open, half closed or closed.
func dial(args []string) error {
	how, network, address := args[0], args[1], args[2]
	if network == "mapped" {
		return dialMapped(address)
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	switch how {
	case "half":
		err = conn.(*net.TCPConn).CloseWrite()
	case "closed":
		err = conn.Close()
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// dialMapped connects an IPv6 socket to an IPv4 address.
func dialMapped(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte{1}); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestCheck(t *testing.T) {
	// Not t.TempDir, which only root can access.
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, how, network, address, dial string }{
		{"IPv4", "open", "tcp4", "127.0.0.1:0", "tcp4"},
		{"IPv4, half closed", "half", "tcp4", "127.0.0.1:0", "tcp4"},
		{"IPv4, another loopback address", "open", "tcp4", "127.0.0.2:0", "tcp4"},
		{"IPv6", "open", "tcp6", "[::1]:0", "tcp6"},
		{"IPv4 to a socket of both", "open", "tcp", "[::]:0", "tcp4"},
		{"IPv6 socket to IPv4", "open", "tcp4", "127.0.0.1:0", "mapped"},
		{"IPv6 socket to a socket of both", "open", "tcp", "[::]:0", "mapped"},
		{"unix", "open", "unix", filepath.Join(dir, "socket"), "unix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Run("same user", func(t *testing.T) {
				conn := accept(t, tt.network, tt.address, tt.how+" "+tt.dial, os.Geteuid())
				if err := Check(conn); err != nil {
					t.Error(err)
				}
			})
			t.Run("another user", func(t *testing.T) {
				testenv.NeedsRoot(t, "only root can be another user")
				conn := accept(t, tt.network, tt.address, tt.how+" "+tt.dial, nobody)
				err := Check(conn)
				if want := "belongs to user 65534, not to our user 0"; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			})
		})
	}
}

// In /proc/net/tcp most kernels show user 0 for a socket that its process has closed. A
// client that sends and closes at once must not be taken for root.
func TestCheckRefusesClosed(t *testing.T) {
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
	}
	for _, network := range []string{"tcp4", "tcp6"} {
		address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
		conn := accept(t, network, address, "closed "+network, uid)
		if err := Check(conn); !errors.Is(err, errNoOwner) {
			t.Errorf("%s: %v, want %v", network, err, errNoOwner)
		}
	}
}

// A client can check the owner of the server.
func TestCheckServer(t *testing.T) {
	for _, network := range []string{"tcp4", "unix"} {
		address := map[string]string{"tcp4": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")}[network]
		l := listen(t, network, address)
		conn, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		if err := Check(conn); err != nil {
			t.Errorf("%s: %v", network, err)
		}
	}
}

func TestCheckRefusesOtherAddresses(t *testing.T) {
	var own net.IP
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			own = n.IP
		}
	}
	if own == nil {
		testenv.Skipf(t, "this machine has only loopback addresses")
	}
	l := listen(t, "tcp4", net.JoinHostPort(own.String(), "0"))
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := Check(conn); err == nil || !strings.Contains(err.Error(), "--listen unix:PATH") {
		t.Errorf("%v, want a hint at --listen unix:PATH", err)
	}
}

// accept returns a connection from a process of uid.
func accept(t *testing.T, network, address, how string, uid int) net.Conn {
	t.Helper()
	l := listen(t, network, address)
	to := l.Addr().String()
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		to = fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	client := exec.Command("/proc/self/exe") // another user cannot reach the binary by its path
	client.Env = append(os.Environ(), "PEER_TEST_DIAL="+how+" "+to, "GORACE=atexit_sleep_ms=0")
	client.Dir = "/"
	client.Stderr = os.Stderr
	if uid != os.Geteuid() {
		client.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	stdin, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := client.Wait(); err != nil {
			t.Errorf("the client: %v", err)
		}
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("the client did not connect: %v", err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	switch l := l.(type) {
	case *net.TCPListener:
		l.SetDeadline(time.Now().Add(10 * time.Second))
	case *net.UnixListener:
		l.SetDeadline(time.Now().Add(10 * time.Second))
		if err := os.Chmod(address, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return l
}
