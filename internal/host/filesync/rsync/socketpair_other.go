//go:build !unix

package rsync

import (
	"errors"
	"net"
	"os"
)

// socketpair fails: no rsync on this system could inherit a socket.
func socketpair() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }
