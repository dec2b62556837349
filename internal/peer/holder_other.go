//go:build !linux

package peer

import (
	"net"
	"net/netip"
)

func listener(netip.AddrPort) (Process, bool) { return Process{}, false }

func unixServer(*net.UnixConn) (Process, bool) { return Process{}, false }
