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

// lockNode takes the lock of a node, which is held while the node is being made or
// removed. unlock also removes the state directory if it is empty.
func lockNode(ctx context.Context, state, name string, logf func(string, ...any)) (unlock func(), err error) {
	release, err := lockFile(ctx, filepath.Join(state, name+".lock"), func() {
		logf("waiting for another process that makes or removes node %s ...", name)
	})
	if err != nil {
		return nil, err
	}
	return func() {
		release()
		_ = os.Remove(state)
	}, nil
}

// lockFile takes the lock on a file; unlock removes the file. waiting, if not nil, is
// called once if the lock is held by another process.
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

// tryLock returns nil if the lock is held or has just been released: a lock on a file
// that is no longer the one at path would exclude nobody.
func tryLock(path string) (*os.File, error) {
	// The previous holder may have removed the directory.
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
