package peer

import (
	"fmt"
	"net"
	"net/netip"
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
func Server(conn *net.UnixConn) (Process, bool) { return unixServer(conn) }
