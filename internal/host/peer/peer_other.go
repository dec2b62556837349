//go:build !linux && !darwin && !windows

package peer

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
)

func self() (user, error) { return "", errors.ErrUnsupported }

func unixOwner(*net.UnixConn) (user, error) {
	return "", unknown()
}

func tcpOwner(_, _ netip.AddrPort) (user, error) {
	return "", unknown()
}

func unknown() error {
	return errors.New("dapbridge does not know how to ask on " + runtime.GOOS + "; use --stdio")
}
