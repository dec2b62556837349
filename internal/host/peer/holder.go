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
	Command string // its command line on one line, shortened; its own words
}

func (p Process) String() string { return fmt.Sprintf("pid %d (%s)", p.PID, p.Command) }

// Listener returns a process that listens on a TCP address of this machine, or
// on all addresses at its port. It is for messages: it reports false where the
// system does not tell, as of another user's processes.
func Listener(addr netip.AddrPort) (Process, bool) { return listener(unmap(addr)) }

// Server returns the process that listens on the socket that conn is connected
// to, and false where the system does not tell.
func Server(conn *net.UnixConn) (Process, bool) { return unixPeer(conn) }

// Client returns the process that has connected conn, and false where the system
// does not tell.
func Client(conn net.Conn) (Process, bool) {
	switch conn.LocalAddr().(type) {
	case *net.UnixAddr:
		if sc, ok := conn.(syscall.Conn); ok {
			return unixPeer(sc)
		}
	case *net.TCPAddr:
		return client(addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr()))
	}
	return Process{}, false
}
