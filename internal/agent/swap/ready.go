//go:build linux

package swap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
)

const (
	// settled is how long a process must have run that says nothing of its
	// readiness: one that ends at its start has ended by then.
	minUptime = 2 * time.Second
	// killWait is how long a process that serves nobody may take to end, and then
	// systemd to notice.
	killWait = 2 * time.Second
	// stopWait is how long the process before may take to end: longer than systemd
	// lets it by default (DefaultTimeoutStopSec=, systemd-system.conf(5)).
	stopWait = 2 * time.Minute
)

// wanted is what a unit's process must be to count as restarted.
type goal struct {
	unit        string
	path        string   // its executable; "" for any
	argv        []string // its command line; nil for any
	sockets     []string // and addresses on which it says that it serves
	formerPID   int      // pid of the process before, and when that started
	formerTicks uint64
	// proven says that the executable has served before: if its unit waits to be
	// started again, that may be for what an earlier process of it did.
	proven bool
}

// restart restarts the unit and waits until its new process serves: until it runs
// the right file and answers where the one before answered. The time for that begins
// when the process before has ended. It returns the new pid; the error says what the
// new process is at.
func (r *Runner) restart(ctx context.Context, w goal, ready time.Duration) (int, error) {
	if err := r.systemd.restart(ctx, w.unit); err != nil {
		return 0, err
	}
	asked := time.Now()
	deadline := asked.Add(ready)
	var up time.Time // since when the process looks as it should
	var seen int
	why := errors.New("it did not start")
	for {
		pid, err := r.checkServing(ctx, w)
		switch {
		case err == nil && pid != seen:
			seen, up, why = pid, time.Now(), fmt.Errorf("pid %d has only just started", pid)
		case err != nil:
			seen, why = 0, err
		}
		if err == nil && (len(w.sockets) > 0 || time.Since(up) >= cmp.Or(r.minUptime, minUptime)) {
			return pid, nil
		}
		if e := (*permanentError)(nil); errors.As(err, &e) {
			return 0, e.err
		}
		if errors.Is(err, errStopping) && time.Since(asked) < stopWait {
			deadline = time.Now().Add(ready)
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("after %v: %w", ready, why)
		}
		time.Sleep(pollPause)
	}
}

// hopeless is a state that waiting does not change.
type permanentError struct{ err error }

func (h *permanentError) Error() string { return h.err.Error() }

// errStopping is the state in which the process before has not ended yet.
var errStopping = errors.New("the process before has not ended")

// serves looks once.
func (r *Runner) checkServing(ctx context.Context, w goal) (int, error) {
	u, err := r.systemd.show(ctx, w.unit)
	if err != nil {
		return 0, err
	}
	if err := u.crashError(); err != nil {
		if w.proven && u.sub == autoRestart {
			return 0, err
		}
		return 0, &permanentError{err}
	}
	if u.active == "deactivating" || u.job != "" && u.mainPID != 0 && u.mainPID == w.formerPID {
		return 0, fmt.Errorf("%s is %s (%s): %w", w.unit, u.active, u.sub, errStopping)
	}
	if u.active != "active" || u.mainPID == 0 || u.job != "" {
		return 0, fmt.Errorf("%s is %s (%s)", w.unit, u.active, u.sub)
	}
	pid := u.mainPID
	p, err := procfs.Find(ctx, api.Selector{PID: pid})
	if err != nil {
		return 0, err
	}
	if pid == w.formerPID && p.StartTicks == w.formerTicks {
		return 0, fmt.Errorf("pid %d has not ended", pid)
	}
	if w.path != "" {
		if same, err := isRunning(pid, w.path); err != nil || !same {
			return 0, fmt.Errorf("pid %d runs %s, not %s (%v)", pid, p.Exe, w.path, err)
		}
	}
	if w.argv != nil && !slices.Equal(w.argv, p.Args) {
		return 0, &permanentError{fmt.Errorf("pid %d was started as %q, not as %q", pid, strings.Join(p.Args, " "), strings.Join(w.argv, " "))}
	}
	for _, path := range w.sockets {
		if err := probeProcess(ctx, pid, path); err != nil {
			return 0, fmt.Errorf("%s does not answer: %w", path, err)
		}
	}
	return pid, nil
}

// end ends the process of a unit that is not to be waited for: one that does not
// serve, and may not listen to SIGTERM either. It does so if the SHA-256 of what
// the process runs is one to end.
func (r *Runner) killProcess(ctx context.Context, unit string, toEnd func(sum string) bool) {
	u, err := r.systemd.show(ctx, unit)
	if err != nil || u.mainPID == 0 {
		return
	}
	f, err := os.Open("/proc/" + strconv.Itoa(u.mainPID) + "/exe")
	if err != nil {
		return
	}
	defer f.Close()
	if sum, err := hashReader(f); err != nil || !toEnd(sum) {
		return
	}
	pid := u.mainPID
	syscall.Kill(pid, syscall.SIGTERM)
	if r.waitProcessGone(ctx, unit, pid) {
		return
	}
	syscall.Kill(pid, syscall.SIGKILL)
	r.waitProcessGone(ctx, unit, pid)
}

// noticed reports whether systemd takes the process for the unit's no more, which it
// waits for. A restart that is asked for before that may come about only when the
// unit's RestartSec= has passed.
func (r *Runner) waitProcessGone(ctx context.Context, unit string, pid int) bool {
	for deadline := time.Now().Add(killWait); time.Now().Before(deadline); time.Sleep(pollPause) {
		if u, err := r.systemd.show(ctx, unit); err == nil && u.mainPID != pid {
			return true
		}
	}
	return false
}
