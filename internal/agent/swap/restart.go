//go:build linux

package swap

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// restartOthers restarts the other units that were changed.
func (d *deploy) restartOthers(ctx context.Context, changed []string) error {
	for _, unit := range changed {
		if unit == d.Unit {
			continue
		}
		if err := d.restartUnit(ctx, unit, d.q.Ready); err != nil {
			return err
		}
	}
	return nil
}

// restartUnit restarts a unit whose executable stays. A unit that no longer exists is
// ignored.
func (r *Runner) restartUnit(ctx context.Context, unit string, ready time.Duration) error {
	if u, err := r.systemd.show(ctx, unit); err != nil || u.load == notFound {
		return err
	}
	p, err := r.mainProcess(ctx, unit)
	if err != nil {
		return err
	}
	_, err = r.restart(ctx, goal{unit: unit, path: p.Exe, formerPID: p.PID, formerTicks: p.StartTicks}, ready)
	if err != nil {
		return fmt.Errorf("restart %s: %w", unit, err)
	}
	return nil
}

// killProcess kills the process of a unit that does not serve, and so may not react to
// SIGTERM either, if mustEnd accepts the SHA-256 of its executable.
func (r *Runner) killProcess(ctx context.Context, unit string, mustEnd func(sum string) bool) {
	u, err := r.systemd.show(ctx, unit)
	if err != nil || u.mainPID == 0 {
		return
	}
	f, err := os.Open("/proc/" + strconv.Itoa(u.mainPID) + "/exe")
	if err != nil {
		return
	}
	defer f.Close()
	if sum, err := hashReader(f); err != nil || !mustEnd(sum) {
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

// waitProcessGone waits until systemd no longer considers the process to be the
// unit's, and reports whether that happened in time. A restart that is requested
// earlier may be delayed by the unit's RestartSec=.
func (r *Runner) waitProcessGone(ctx context.Context, unit string, pid int) bool {
	for deadline := time.Now().Add(killWait); time.Now().Before(deadline); time.Sleep(pollPause) {
		if u, err := r.systemd.show(ctx, unit); err == nil && u.mainPID != pid {
			return true
		}
	}
	return false
}
