// Package peer tells who is at the other end of a local connection. A loopback
// port is open to every user of the machine, and whoever debugs a process as
// root may do as root does.
package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Check returns nil when the process at the other end of conn belongs to the
// user that runs this process. conn is a *net.UnixConn, or a *net.TCPConn
// between loopback addresses, and still open at both ends: an owner that
// cannot be found is an error, and so is a platform where it cannot be asked
// for. Root at the other end is another user, too, unless we are root.
func Check(conn net.Conn) error {
	owner, err := ownerOf(conn)
	if err != nil {
		return fmt.Errorf("look up the user at the other end of the connection from %v: %w", conn.RemoteAddr(), err)
	}
	self, err := self()
	if err != nil {
		return fmt.Errorf("look up our own user: %w", err)
	}
	if owner != self {
		return fmt.Errorf("the connection from %v is of user %s, not of ours, %s", conn.RemoteAddr(), owner, self)
	}
	return nil
}

// user is a uid in decimal, or on Windows a SID.
type user string

func ownerOf(conn net.Conn) (user, error) {
	switch conn := conn.(type) {
	case *net.UnixConn:
		return unixOwner(conn)
	case *net.TCPConn:
		here, there := addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
		if !here.Addr().IsLoopback() || !there.Addr().IsLoopback() {
			return "", errors.New("it is not a loopback connection; connect through one, or through a unix socket (--listen unix:PATH)")
		}
		return tcpOwner(here, there)
	}
	return "", fmt.Errorf("nobody knows for a %T; use a unix socket (--listen unix:PATH)", conn)
}

// addrPort returns a in the form that connections are compared in: an IPv4
// address is one even when an IPv6 socket has it.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmap(tcp.AddrPort())
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// entry is a line of a system's table of TCP sockets.
type entry struct {
	local, remote netip.AddrPort // unmapped
	owner         uint32         // a uid, or on Windows a PID
	live          bool           // connected, and a process has it
}

var errNoOwner = errors.New("the system shows no process of this machine's that has it, as for one in a container, in WSL2 or behind a forwarded port; use a unix socket (--listen unix:PATH), or have the IDE start dapbridge serve --stdio")

// search returns the owner of the socket at there that is connected to here,
// from the entries that read hands to add. As a table is not read in one
// instant, and a socket may be missed when others come and go, search reads a
// second time before it gives up.
func search(here, there netip.AddrPort, read func(add func(entry)) error) (uint32, error) {
	for range 2 {
		owners := map[uint32]bool{}
		err := read(func(e entry) {
			if e.live && e.local == there && e.remote == here {
				owners[e.owner] = true
			}
		})
		if err != nil {
			return 0, err
		}
		if len(owners) > 1 {
			return 0, errors.New("the system shows several owners")
		}
		for owner := range owners {
			return owner, nil
		}
	}
	return 0, errNoOwner
}
