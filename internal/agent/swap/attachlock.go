//go:build linux

package swap

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// holdWait is how long a debugger waits for the end of a swap that restarts its
// target, and a swap for that of an attach: less than the 30 s for which a worker
// keeps the session's descriptors (internal/agent/worker, JoinTimeout).
const attachLockTimeout = 25 * time.Second

// Hold keeps the targets of this node from being swapped while a debugger attaches,
// until release is called. If one is just being swapped, it waits for that, so that
// the debugger finds the new process. store is where originals are kept, see [Store].
func PreventSwap(ctx context.Context, store string) (release func(), err error) {
	return lockAttach(ctx, store, unix.LOCK_SH, "a deploy or restore is at work on the node", "wait for its end, and start the session again")
}

// holdOff keeps debuggers from attaching until release is called: one that halts
// a process which is just starting would make it look as if it did not serve.
func (s store) preventAttach(ctx context.Context) (release func(), err error) {
	return lockAttach(ctx, s.dir, unix.LOCK_EX, "a debugger is just attaching on the node", "run the command again when it has")
}

// lockAttach takes a lock of its own in the store's directory: a swap holds the
// store's for much longer. Without the directory there is nobody to wait for. Who
// holds it for too long is said by busy.
func lockAttach(ctx context.Context, dir string, how int, busy, hint string) (release func(), err error) {
	lock, err := os.OpenFile(filepath.Join(dir, "attach"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, attachLockTimeout)
	defer cancel()
	for unix.Flock(int(lock.Fd()), how|unix.LOCK_NB) != nil {
		select {
		case <-ctx.Done():
			lock.Close()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, diag.Errorf(diag.TargetBusy, "%s", busy).WithHint("%s", hint)
			}
			return nil, ctx.Err()
		case <-time.After(pollPause):
		}
	}
	if !hasName(lock) {
		lock.Close()
		return lockAttach(ctx, dir, how, busy, hint)
	}
	return func() { lock.Close() }, nil
}
