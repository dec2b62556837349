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

// attachLockTimeout bounds how long a debugger waits for a swap that restarts its
// target, and a swap for an attach: less than the 30 s for which a worker keeps a
// session's descriptors (supervisor.JoinTimeout).
const attachLockTimeout = 25 * time.Second

// PreventSwap prevents the node's targets from being swapped while a debugger
// attaches, until release is called. It waits for a swap that is in progress, so that
// the debugger finds the new process. store is the directory of the originals, see
// [Store].
func PreventSwap(ctx context.Context, store string) (release func(), err error) {
	return lockAttach(ctx, store, unix.LOCK_SH, "a deploy or restore is running on the node", "wait until it has ended, and start the session again")
}

// preventAttach prevents debuggers from attaching until release is called: a process
// that is halted while it starts would look as if it did not serve.
func (s store) preventAttach(ctx context.Context) (release func(), err error) {
	return lockAttach(ctx, s.dir, unix.LOCK_EX, "a debugger is attaching on the node", "run the command again when it has attached")
}

// lockAttach takes a lock in the store's directory. It is not the store's own lock,
// which a swap holds for much longer. If the directory does not exist, there is
// nothing to wait for. busy is the error if the lock is held for too long.
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
