//go:build !linux

package peer

import (
	"net/netip"
	"syscall"
)

func findListener(netip.AddrPort) (Process, bool) { return Process{}, false }

func findClient(_, _ netip.AddrPort) (Process, bool) { return Process{}, false }

func unixPeer(syscall.Conn) (Process, bool) { return Process{}, false }
