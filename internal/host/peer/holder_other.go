//go:build !linux

package peer

import (
	"net/netip"
	"syscall"
)

func listener(netip.AddrPort) (Process, bool) { return Process{}, false }

func client(_, _ netip.AddrPort) (Process, bool) { return Process{}, false }

func unixPeer(syscall.Conn) (Process, bool) { return Process{}, false }
