// Package peer finds the user or process at the other end of a local connection. A
// loopback port is open to every user of the machine, and whoever debugs a process of
// root can do anything that root can.
package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Check returns nil if the process at the other end of conn belongs to the user that runs
// this process. conn must be a *net.UnixConn, or a *net.TCPConn between loopback
// addresses, and still open at both ends. Check fails if the owner cannot be found, or if
// the platform has no way to find it. Root counts as another user, unless this process
// runs as root.
func Check(conn net.Conn) error {
	owner, err := ownerOf(conn)
	if err != nil {
		return fmt.Errorf("look up the user at the other end of the connection from %v: %w", conn.RemoteAddr(), err)
	}
	self, err := currentUser()
	if err != nil {
		return fmt.Errorf("look up our own user: %w", err)
	}
	if owner != self {
		return fmt.Errorf("the connection from %v belongs to user %s, not to our user %s", conn.RemoteAddr(), owner, self)
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
		local, remote := addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
		if !local.Addr().IsLoopback() || !remote.Addr().IsLoopback() {
			return "", errors.New("it is not a loopback connection; connect through one, or through a unix socket (--listen unix:PATH)")
		}
		return tcpOwner(local, remote)
	}
	return "", fmt.Errorf("cannot find the owner of a %T; use a unix socket (--listen unix:PATH)", conn)
}

// addrPort returns a in the form in which addresses are compared: IPv4 addresses of
// IPv6 sockets are unmapped.
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

// entry is an entry in a system's table of TCP sockets.
type entry struct {
	local, remote netip.AddrPort // unmapped
	owner         uint32         // a uid, or on Windows a PID
	live          bool           // connected, and open in a process
}

var errNoOwner = errors.New("no process on this machine has that connection, as with a container, WSL2 or a forwarded port; use a unix socket (--listen unix:PATH), or have the IDE start dapbridge serve --stdio")

// search returns the owner of the socket at remote that is connected to local, among
// the entries that read passes to add. A table is not read atomically, so that a socket
// may be missed while others come and go: search reads it a second time before it fails.
func search(local, remote netip.AddrPort, read func(add func(entry)) error) (uint32, error) {
	for range 2 {
		owners := map[uint32]bool{}
		err := read(func(e entry) {
			if e.live && e.local == remote && e.remote == local {
				owners[e.owner] = true
			}
		})
		if err != nil {
			return 0, err
		}
		if len(owners) > 1 {
			return 0, errors.New("the connection has several owners")
		}
		for owner := range owners {
			return owner, nil
		}
	}
	return 0, errNoOwner
}
