package serve

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestListenLoopbackOnly(t *testing.T) {
	for spec, want := range map[string]diag.Code{
		"127.0.0.1:0":     "",
		"localhost:0":     "",
		"0.0.0.0:0":       diag.Usage,
		":2345":           diag.Usage,
		"[::]:0":          diag.Usage,
		"198.51.100.7:0":  diag.Usage,
		"example.com:0":   diag.Usage,
		"2345":            diag.Usage,
		"127.0.0.1:http!": diag.ListenFailed,
	} {
		t.Run(spec, func(t *testing.T) {
			ln, addr, err := listen(spec)
			if want != "" {
				checkRefused(t, err, want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ln.Close()
			if _, port, err := net.SplitHostPort(addr); err != nil || port == "0" {
				t.Errorf("got the address %q", addr)
			}
		})
	}
}

func checkRefused(t *testing.T, err error, want diag.Code) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want %s", want)
	} else if got := diag.CodeOf(err); got != want {
		t.Errorf("got %s, want %s: %v", got, want, err)
	}
}

func TestListenOnAPortInUse(t *testing.T) {
	first, addr, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, _, err = listen(addr)
	checkRefused(t, err, diag.ListenFailed)
	if !strings.Contains(err.Error(), addr) {
		t.Errorf("got the error %q, want …%s…", err, addr)
	}
}

// TestListenUnix checks that only this user can open the socket, and that it replaces
// only a socket on which nothing listens.
func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dap")
	spec := "unix:" + path
	ln, addr, err := listen(spec)
	if err != nil {
		t.Fatal(err)
	}
	if addr != spec {
		t.Errorf("got the address %q, want %q", addr, spec)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got a socket with mode %#o, want 0600", got)
	}

	_, _, err = listen(spec) // in use
	checkRefused(t, err, diag.ListenFailed)

	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed daemon leaves it
	ln.Close()
	again, _, err := listen(spec)
	if err != nil {
		t.Fatalf("replace a socket on which nobody listens: %v", err)
	}
	again.Close()

	const content = "a file"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = listen(spec)
	checkRefused(t, err, diag.ListenFailed)
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("got the file %q, %v, want %q", got, err, content)
	}
}
