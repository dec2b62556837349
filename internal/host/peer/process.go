package peer

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Process is a process of this machine.
type Process struct {
	PID     int
	Command string // its command line on one line, shortened; the process controls it
}

func (p Process) String() string { return fmt.Sprintf("pid %d (%s)", p.PID, p.Command) }

// Listener returns a process that listens on a TCP address of this machine, or on all
// addresses at its port. Use it for messages only: it reports false if the process can't
// be found, which includes other users' processes.
func Listener(addr netip.AddrPort) (Process, bool) { return findListener(unmap(addr)) }

// Server returns the process that listens on the socket to which conn is connected. It
// reports false if the process can't be found.
func Server(conn *net.UnixConn) (Process, bool) { return unixPeer(conn) }

// Client returns the process at the other end of an accepted connection. It reports
// false if the process can't be found.
func Client(conn net.Conn) (Process, bool) {
	switch conn.LocalAddr().(type) {
	case *net.UnixAddr:
		if sc, ok := conn.(syscall.Conn); ok {
			return unixPeer(sc)
		}
	case *net.TCPAddr:
		return findClient(addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr()))
	}
	return Process{}, false
}
