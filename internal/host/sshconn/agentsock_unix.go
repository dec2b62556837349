//go:build !windows

package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// dialAgent connects to the SSH agent's socket.
func dialAgent(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	if socket == "" || socket == "none" {
		return nil, errors.New("SSH_AUTH_SOCK is not set")
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	return d.DialContext(ctx, "unix", socket)
}
