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
		ln, addr, err := listen(spec)
		if err == nil {
			ln.Close()
			if _, port, perr := net.SplitHostPort(addr); perr != nil || port == "0" {
				t.Errorf("listen(%s) says %q", spec, addr)
			}
		}
		if (err == nil) != (want == "") || err != nil && diag.CodeOf(err) != want {
			t.Errorf("listen(%s): %v, want %q", spec, err, want)
		}
	}
}

func TestListenTaken(t *testing.T) {
	first, addr, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, _, err := listen(addr); diag.CodeOf(err) != diag.ListenFailed || !strings.Contains(err.Error(), addr) {
		t.Errorf("a second listener: %v", err)
	}
}

// TestListenUnix makes a socket that only this user can open, replaces one that
// nobody answers, and touches nothing else.
func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dap")
	spec := "unix:" + path
	ln, addr, err := listen(spec)
	if err != nil || addr != spec {
		t.Fatalf("%q, %v", addr, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if _, _, err := listen(spec); diag.CodeOf(err) != diag.ListenFailed {
		t.Errorf("a second listener: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed daemon leaves it
	ln.Close()
	again, _, err := listen(spec)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	again.Close()
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listen(spec); diag.CodeOf(err) != diag.ListenFailed {
		t.Errorf("over a file: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "a file" {
		t.Errorf("the file is %q, %v", data, err)
	}
}
