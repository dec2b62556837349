// Package control connects a user's commands with the user's daemons. Each daemon listens
// on a unix socket of its own, in a directory that only this user can enter, and answers
// requests: JSON over HTTP (POST /v1/METHOD). The package knows nothing about the
// methods.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// prefix starts the path of each method and contains the protocol version.
const prefix = "/v1/"

const (
	maxRequest = 64 << 10 // bytes of a request's JSON
	maxAnswer  = 4 << 20  // bytes of an answer's JSON
	maxHeader  = 8 << 10  // bytes of an HTTP header
)

// suffix ends the name of a socket from the moment it accepts connections. Until then,
// [Find] ignores it.
const suffix = ".sock"

// Listen opens a socket in dir, to which only this user may have access. Closing the
// listener removes the socket. [Find] finds it only once connections succeed.
func Listen(dir string) (net.Listener, error) {
	name := filepath.Join(dir, fmt.Sprintf("%d-%s", os.Getpid(), rand.Text()[:8]))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	l := &listener{ln, name}
	if err = os.Chmod(name, 0o600); err == nil {
		err = os.Rename(name, name+suffix)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.name += suffix
	return l, nil
}

type listener struct {
	*net.UnixListener
	name string
}

func (l *listener) Close() error {
	err := l.UnixListener.Close()
	if removeErr := os.Remove(l.name); err == nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = removeErr
	}
	return err
}

// Daemon is a running daemon.
type Daemon struct {
	Socket string
	PID    int // in the daemon's pid namespace; 0 if the socket's name has none
}

// Find returns the daemons whose sockets are in dir, which need not exist. It removes
// the sockets of daemons that were killed.
func Find(ctx context.Context, dir string) ([]Daemon, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil { // dir contains a malformed pattern
		return nil, err
	}
	var all []Daemon
	for _, name := range names {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
		switch {
		case err == nil:
			conn.Close()
		case errors.Is(err, syscall.ECONNREFUSED): // not a new one: Listen renames it once it listens
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, diag.Errorf(diag.WriteFailed, "remove a dead daemon's socket: %w", err)
			}
			continue
		case errors.Is(err, fs.ErrNotExist): // the daemon has just ended
			continue
		}
		digits, _, _ := strings.Cut(filepath.Base(name), "-")
		pid, _ := strconv.Atoi(digits)
		all = append(all, Daemon{Socket: name, PID: pid})
	}
	return all, nil
}
