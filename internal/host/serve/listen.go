package serve

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/peer"
)

// listen listens for IDEs on a loopback TCP address, or on unix:PATH, a socket that only
// this user can open. It returns the address in the form that IDEs expect.
func listen(spec string) (net.Listener, string, error) {
	if path, ok := strings.CutPrefix(spec, "unix:"); ok {
		ln, err := listenUnix(path)
		return ln, spec, err
	}
	if err := checkLoopback(spec); err != nil {
		return nil, "", err
	}
	ln, err := net.Listen("tcp", spec)
	if err != nil {
		return nil, "", nameListener(diag.Errorf(diag.ListenFailed, "listen on %s: %w", spec, err))
	}
	return ln, ln.Addr().String(), nil
}

// nameListener adds to the error of net.Listen the process that already listens on the
// address, if the system can name it.
func nameListener(err *diag.Error) *diag.Error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	if addr, ok := op.Addr.(*net.TCPAddr); ok {
		if p, ok := peer.Listener(addr.AddrPort()); ok {
			return addProcess(err, p)
		}
	}
	return err
}

// addProcess adds to err the process that has the address.
func addProcess(err *diag.Error, p peer.Process) *diag.Error {
	err.Summary += ": " + p.String() + " listens there"
	return err.WithHint("end that process (kill %d), or choose another address with --listen", p.PID)
}

// checkLoopback returns an error for an address that other machines can reach: whoever
// connects to it is root on the node.
func checkLoopback(spec string) error {
	host, _, err := net.SplitHostPort(spec)
	if err != nil {
		return diag.Errorf(diag.Usage, "--listen %s: %w", spec, err).WithHint("write --listen 127.0.0.1:PORT or --listen unix:PATH")
	}
	if host == "localhost" {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return diag.Errorf(diag.Usage, "--listen %s is not a loopback address", spec).
			WithHint("whoever reaches the port is root on the node: write --listen 127.0.0.1:PORT or --listen unix:PATH")
	}
	return nil
}

// listenUnix makes a socket with mode 0600. It replaces a socket on which nothing
// listens, such as a killed daemon leaves behind.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, diag.Errorf(diag.ListenFailed, "%s exists and is not a socket", path)
		}
		if conn, err := net.Dial("unix", path); err == nil {
			defer conn.Close()
			err := diag.Errorf(diag.ListenFailed, "%s is already in use", path)
			if p, ok := peer.Server(conn.(*net.UnixConn)); ok {
				return nil, addProcess(err, p)
			}
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, diag.Errorf(diag.ListenFailed, "replace the old socket: %w", err)
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, diag.Errorf(diag.ListenFailed, "listen on unix:%s: %w", path, err)
	}
	// Another user who connects before the mode is set is refused by peer.Check.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, diag.Errorf(diag.ListenFailed, "restrict the socket: %w", errors.Join(err, ln.Close()))
	}
	return ln, nil
}
