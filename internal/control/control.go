// Package control lets commands of this user's talk to daemons of this user's: each
// daemon has a unix socket of its own in a directory that only this user can enter,
// and answers requests there, JSON over HTTP (POST /v1/METHOD). It knows neither
// daemons nor what they are asked.
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

// prefix begins the path of each method, with the version of the protocol.
const prefix = "/v1/"

const (
	maxRequest = 64 << 10 // bytes of a request's JSON
	maxAnswer  = 4 << 20  // and of an answer's
	maxHeader  = 8 << 10
)

// suffix ends the name of a socket that is listened on, or was.
const suffix = ".sock"

// Listen opens a socket in dir, which must be this user's alone. Closing the
// listener removes it. Others find it by [Find] once it can be connected to.
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
	if gone := os.Remove(l.name); err == nil && !errors.Is(gone, fs.ErrNotExist) {
		err = gone
	}
	return err
}

// Daemon is one that listens.
type Daemon struct {
	Socket string
	PID    int // as it sees itself; 0 if the socket's name does not say
}

// Find returns the daemons whose sockets are in a directory, which need not be
// there. Those that killed daemons have left it removes.
func Find(ctx context.Context, dir string) ([]Daemon, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil { // dir holds what Glob takes for a pattern
		return nil, err
	}
	var all []Daemon
	for _, name := range names {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
		switch {
		case err == nil:
			conn.Close()
		case errors.Is(err, syscall.ECONNREFUSED): // it was renamed after the listen
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, diag.Errorf(diag.WriteFailed, "remove the socket of a daemon that is gone: %w", err)
			}
			continue
		case errors.Is(err, fs.ErrNotExist): // the daemon has ended just now
			continue
		}
		digits, _, _ := strings.Cut(filepath.Base(name), "-")
		pid, _ := strconv.Atoi(digits)
		all = append(all, Daemon{Socket: name, PID: pid})
	}
	return all, nil
}
