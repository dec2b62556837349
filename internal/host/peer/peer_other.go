//go:build !linux && !darwin && !windows

package peer

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
)

func currentUser() (user, error) { return "", errors.ErrUnsupported }

func unixOwner(*net.UnixConn) (user, error) {
	return "", unsupportedError()
}

func tcpOwner(_, _ netip.AddrPort) (user, error) {
	return "", unsupportedError()
}

func unsupportedError() error {
	return errors.New("not supported on " + runtime.GOOS + "; use --stdio")
}
