//go:build linux

package swap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
)

const (
	// minUptime is how long a process without health sockets must have run: one that
	// fails at its start has exited by then.
	minUptime = 2 * time.Second
	// killWait bounds how long a signalled process may take to exit, and systemd to
	// notice that.
	killWait = 2 * time.Second
	// stopWait bounds how long the former process may take to exit: longer than systemd's
	// default (DefaultTimeoutStopSec=, systemd-system.conf(5)).
	stopWait = 2 * time.Minute
)

// goal describes the process that a restart must lead to.
type goal struct {
	unit        string
	path        string   // its executable; "" for any
	argv        []string // its command line; nil for any
	sockets     []string // sockets and addresses on which it must answer health checks
	formerPID   int      // the former process, and when it started
	formerTicks uint64
	// proven says that the executable has served before: if its unit waits for an
	// automatic restart, that may be due to an earlier process.
	proven bool
}

// restart restarts the unit and waits until its new process serves: it runs the right
// file and answers where the former one answered. ready bounds the time for that, from
// the exit of the former process. restart returns the new pid; its error describes the
// state of the new process.
func (r *Runner) restart(ctx context.Context, w goal, ready time.Duration) (int, error) {
	if err := r.systemd.restart(ctx, w.unit); err != nil {
		return 0, err
	}
	requested := time.Now()
	deadline := requested.Add(ready)
	var up time.Time // since when this process has met the goal
	var seen int
	why := errors.New("it did not start")
	for {
		pid, err := r.checkServing(ctx, w)
		switch {
		case err == nil && pid != seen:
			seen, up, why = pid, time.Now(), fmt.Errorf("pid %d has just started", pid)
		case err != nil:
			seen, why = 0, err
		}
		if err == nil && (len(w.sockets) > 0 || time.Since(up) >= cmp.Or(r.minUptime, minUptime)) {
			return pid, nil
		}
		if e := (*permanentError)(nil); errors.As(err, &e) {
			return 0, e.err
		}
		if errors.Is(err, errStopping) && time.Since(requested) < stopWait {
			deadline = time.Now().Add(ready)
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("after %v: %w", ready, why)
		}
		time.Sleep(pollPause)
	}
}

// permanentError wraps an error that does not go away by waiting.
type permanentError struct{ err error }

func (h *permanentError) Error() string { return h.err.Error() }

// errStopping is the state in which the former process has not exited yet.
var errStopping = errors.New("the former process has not exited")

// checkServing checks once whether the goal is met, and returns the pid.
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
		return 0, fmt.Errorf("pid %d has not exited", pid)
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
