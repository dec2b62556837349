//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockNode takes the lock of one node: whoever makes or removes it holds it.
// unlock removes the lock's file, and the state directory if no node is there.
func lockNode(ctx context.Context, state, name string, logf func(string, ...any)) (unlock func(), err error) {
	release, err := lockFile(ctx, filepath.Join(state, name+".lock"), func() {
		logf("waiting for another run that works on node %s ...", name)
	})
	if err != nil {
		return nil, err
	}
	return func() {
		release()
		_ = os.Remove(state)
	}, nil
}

// lockFile takes the lock on a file and removes the file when it is given
// back. waiting, if not nil, is called once when somebody else holds it.
func lockFile(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		f, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if f != nil {
			return func() { _ = os.Remove(path); f.Close() }, nil
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryLock returns nil when the lock is held, or was just given back: a lock on
// a file that is no longer the one at path would lock nobody out.
func tryLock(path string) (*os.File, error) {
	// Each time: whoever gave the lock back may have removed the directory.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, nil
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	held, err := f.Stat()
	if err == nil {
		if now, statErr := os.Stat(path); statErr == nil && os.SameFile(held, now) {
			return f, nil
		}
	}
	f.Close()
	return nil, err
}
