//go:build !unix

package rsync

import (
	"errors"
	"net"
	"os"
)

// socketpair fails: there is no rsync here that could inherit a socket.
func socketpair() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }
