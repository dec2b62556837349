package procfs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Listener is a process that listens on a socket.
type Listener struct {
	PID     int
	UID     uint32 // effective
	Args    []string
	Clients int // accepted connections that are open
}

// ErrNoListener is the error of [FindListener] if nothing listens on the address.
var ErrNoListener = errors.New("nothing listens there")

// FindListener returns the process that listens on addr, HOST:PORT or unix:PATH,
// without connecting to it. The host must be a loopback address.
func FindListener(addr string) (Listener, error) {
	sockets, err := findSockets(addr)
	if err != nil {
		return Listener{}, err
	}
	for _, s := range sockets {
		if !s.listens {
			continue
		}
		if pid := findHolder(s.inode, 0); pid != 0 {
			return describeListener(pid, sockets)
		}
	}
	return Listener{}, ErrNoListener
}

func describeListener(pid int, sockets []socket) (Listener, error) {
	p, err := readProcess(pid)
	if err != nil {
		return Listener{}, err
	}
	l := Listener{PID: pid, UID: p.UID, Args: p.Args}
	for _, s := range sockets {
		if !s.listens && s.connected {
			l.Clients++
		}
	}
	return l, nil
}

// socket is a socket in one of the kernel's tables.
type socket struct {
	inode              string
	listens, connected bool
}

// socketTableLimit bounds the bytes read of a table of sockets: over 100,000 sockets at
// 150 bytes each.
const socketTableLimit = 16 << 20

// findSockets returns the sockets whose local address is addr.
func findSockets(addr string) ([]socket, error) {
	if path, isUnix := strings.CutPrefix(addr, "unix:"); isUnix {
		text, err := readTable(os.Getpid(), "net/unix")
		return parseUnixSockets(text, path), err
	}
	want, err := netip.ParseAddrPort(addr)
	if err != nil || !want.Addr().IsLoopback() || want.Port() == 0 {
		return nil, fmt.Errorf("%.80q is neither a loopback HOST:PORT nor unix:PATH", addr)
	}
	var all []socket
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		text, err := readTable(os.Getpid(), name)
		if err != nil && !isGone(err) { // a kernel without IPv6
			return nil, err
		}
		all = append(all, parseTCPSockets(text, want)...)
	}
	return all, nil
}

// readTable reads a table of the sockets in a process's network namespace.
func readTable(pid int, name string) ([]byte, error) {
	f, err := os.Open(procPath(pid, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, socketTableLimit+1))
	if err == nil && len(text) > socketTableLimit {
		err = diag.Errorf(diag.Internal, "the node has too many sockets to read")
	}
	return text, err
}

// parseTCPSockets parses /proc/net/tcp or tcp6 (Linux's net/ipv4/tcp_ipv4.c,
// get_tcp4_sock; states in include/net/tcp_states.h). It also returns listeners on all
// addresses.
func parseTCPSockets(text []byte, want netip.AddrPort) []socket {
	var all []socket
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) < 10 {
			continue
		}
		local, ok := parseHexAddr(string(f[1]))
		if !ok || local.Port() != want.Port() {
			continue
		}
		s := socket{inode: string(f[9]), listens: string(f[3]) == "0A", connected: string(f[3]) == "01"}
		if local.Addr() == want.Addr().Unmap() || s.listens && local.Addr().IsUnspecified() {
			all = append(all, s)
		}
	}
	return all
}

// parseHexAddr parses an address such as 0100007F:0FC8: the 32-bit words in the
// machine's byte order, and the port.
func parseHexAddr(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	ip, err := hex.DecodeString(host)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(ip) != 4 && len(ip) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(ip); i += 4 {
		binary.NativeEndian.PutUint32(ip[i:], binary.BigEndian.Uint32(ip[i:]))
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

// parseUnixSockets parses /proc/net/unix (Linux's net/unix/af_unix.c, unix_seq_show):
// a listener has the flag __SO_ACCEPTCON; an accepted socket has its listener's path
// and the state 03, connected.
func parseUnixSockets(text []byte, path string) []socket {
	var all []socket
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) < 8 || string(bytes.Join(f[7:], []byte(" "))) != path {
			continue
		}
		all = append(all, socket{
			inode: string(f[6]), listens: string(f[3]) == "00010000", connected: string(f[5]) == "03",
		})
	}
	return all
}

// FindTracees returns the processes that a process traces.
func FindTracees(tracer int) ([]int, error) {
	pids, err := readNumbers(procRoot)
	if err != nil {
		return nil, err
	}
	var traced []int
	for _, pid := range pids {
		status, err := readProc(pid, "status", statusLimit)
		if err != nil {
			continue
		}
		by := findStatusInt(status, "TracerPid")
		if by == 0 {
			continue
		}
		if status, err := readProc(by, "status", statusLimit); err == nil && findStatusInt(status, "Tgid") == tracer {
			traced = append(traced, pid)
		}
	}
	return traced, nil
}
