//go:build linux

package swap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Runner runs the commands.
type Runner struct {
	Dir    string                 // directory of the originals; created if necessary
	Remove []string               // directories of the agent that Restore removes
	Report func(api.SwapProgress) // called at the start of each step; not nil

	Sessions    Sessions
	IdleTimeout time.Duration // of a host that sends a build

	minUptime time.Duration // for tests; 0 means the constant
	systemd   systemd
}

// Sessions finds and ends debug sessions. They prevent a restart: a halted process
// does not exit, and one whose debugger is killed dies of a breakpoint.
type Sessions struct {
	// Find returns who debugs a process, "" if nobody does. It fails if the debugger
	// cannot be asked to release the process.
	Find func(pid int) (by string, err error)
	// End ends the session properly, tells its user the reason, and returns when nobody
	// traces the process.
	End func(ctx context.Context, pid int, reason string) error
}

// findSession returns who debugs a process, "" for pid 0.
func (r *Runner) findSession(pid int) (by string, err error) {
	if pid == 0 {
		return "", nil
	}
	return r.Sessions.Find(pid)
}

// endSession makes the debugger of a process, if any, release it, and tells its user
// which command replaces the executable, and who runs it.
func (r *Runner) endSession(ctx context.Context, pid int, exe, command, by string) error {
	session, err := r.findSession(pid)
	if err != nil || session == "" {
		return err
	}
	r.Report(api.SwapProgress{Step: api.StepEndingSession})
	reason := fmt.Sprintf("%s is replaced by dapbridge %s (%s): start debugging again to attach to the new process", filepath.Base(exe), command, by)
	return r.Sessions.End(ctx, pid, reason)
}

// Inspect describes the target and changes nothing. It fails if the target cannot be
// swapped.
func (r *Runner) Inspect(ctx context.Context, q api.InspectRequest) (api.InspectResult, error) {
	s, unlock, err := openStore(r.Dir)
	if err != nil {
		return api.InspectResult{}, err
	}
	defer unlock()
	v, err := r.newView(ctx, s, q.Target, q.Force)
	if err != nil {
		return v.InspectResult, err
	}
	path := v.Path
	if v.Kept {
		path = s.originalPath(v.Unit) // a deployed build may record less, if the user's own command built it
	}
	x, err := exe.Open(path)
	if err != nil {
		return v.InspectResult, err
	}
	defer x.Close()
	v.Origin, _ = x.Origin()
	return v.InspectResult, nil
}

// view is what a run knows before it changes anything.
type view struct {
	api.InspectResult
	file   File     // at Path
	argv   []string // of the process, nil if it does not run
	rec    *record  // nil before the first deploy
	unit   unitState
	ticks  uint64 // when the process started
	inUnit []api.Task
}

// newView finds the target: the process, or the recorded unit if no process runs.
func (r *Runner) newView(ctx context.Context, s store, target api.Selector, force bool) (v view, err error) {
	p, err := procfs.Find(ctx, target)
	if target.PID == 0 && (err != nil || !isService(p.Unit)) { // it may be an unrelated process of that name
		if rec, e := s.findByName(target.Executable()); e == nil && rec != nil {
			v.rec = rec
			p, err = r.mainProcess(ctx, rec.Unit)
		}
	}
	switch {
	case err != nil:
		return v, err
	case p.PID == 0:
		v.Unit, v.Path = v.rec.Unit, v.rec.Path
	default:
		if err := r.fillProcess(ctx, &v, p); err != nil {
			return v, err
		}
		if v.rec, err = s.load(v.Unit); err != nil {
			return v, err
		}
	}
	if v.rec != nil && v.rec.Stage == stageKept {
		v.rec = nil // that run changed nothing, but somebody else may have since
	}
	if v.rec == nil {
		if err := s.checkExclusive(v.Unit, v.Path); err != nil {
			return v, err
		}
	}
	if v.unit, err = r.systemd.show(ctx, v.Unit); err != nil {
		return v, err
	}
	return v, r.checkTarget(ctx, &v, force)
}

func isService(unit string) bool { return strings.HasSuffix(unit, ".service") }

// fillProcess fills in the fields that describe a running target's process.
func (r *Runner) fillProcess(ctx context.Context, v *view, p api.Process) (err error) {
	v.Unit, v.Path, v.PID, v.argv, v.ticks = p.Unit, p.Exe, p.PID, p.Args, p.StartTicks
	if !isService(p.Unit) {
		return diag.Errorf(diag.TargetNoUnit, "%s (pid %d) does not run in a systemd service that could be restarted", p.Exe, p.PID)
	}
	u, err := r.systemd.show(ctx, p.Unit)
	if err != nil {
		return err
	}
	if u.mainPID != p.PID {
		return diag.Errorf(diag.DeployRefused, "pid %d (%s) is not the main process of %s, which is pid %d", p.PID, p.Exe, p.Unit, u.mainPID)
	}
	if procfs.IsFrozen(p.PID) {
		return diag.Errorf(diag.DeployRefused, "the cgroup of pid %d (%s) is frozen: the process can be neither restarted nor debugged", p.PID, p.Unit).
			WithHint("thaw it on the node: sudo systemctl thaw %s; if it was frozen by other means, write THAWED to its freezer.state, or 0 to its cgroup.freeze", p.Unit)
	}
	if v.Session, err = r.Sessions.Find(p.PID); err != nil {
		return err
	}
	v.Sockets, err = findHealthSockets(ctx, p, v.Session != "")
	return err
}

// checkTarget checks the executable, its file system and what a restart would do.
func (r *Runner) checkTarget(ctx context.Context, v *view, force bool) (err error) {
	if v.unit.load == "masked" {
		return diag.Errorf(diag.DeployRefused, "%s is masked and could not be started again", v.Unit).
			WithHint("unmask it on the node: sudo systemctl unmask %s", v.Unit)
	}
	if v.file, err = describeFile(v.Path); err != nil {
		return diag.Errorf(diag.DeployRefused, "cannot replace the target's executable: %w", err)
	}
	v.SHA256, v.Size = v.file.SHA256, v.file.Size
	if v.PID != 0 {
		if v.Current, err = isRunning(v.PID, v.Path); err != nil {
			return err
		}
		if exe, _ := os.Readlink("/proc/" + strconv.Itoa(v.PID) + "/exe"); !v.Current && !strings.HasSuffix(exe, " (deleted)") {
			return diag.Errorf(diag.DeployRefused, "%s is a different file for the target, which runs in its own mount namespace", v.Path)
		}
	}
	if v.rec != nil {
		v.Kept, v.Args, v.Relaxed = true, v.rec.Args, v.rec.Relaxed
		if v.rec.Path != v.Path {
			return diag.Errorf(diag.DeployRefused, "%s now runs %s, but %s was deployed for it", v.Unit, v.Path, v.rec.Path).
				WithHint("run dapbridge restore first")
		}
		if !v.rec.isKnown(v.file) {
			return diag.Errorf(diag.DeployRefused, "%s was replaced since the last deploy, by an upgrade or by hand", v.Path).
				WithHint("first run dapbridge restore --replaced keep, to make it the new original, or --replaced undo, to put the former original back")
		}
	}
	if v.Volatile, err = findVolatility(filepath.Dir(v.Path)); err != nil {
		return err
	}
	if v.Tasks, v.inUnit, err = listTasks(ctx, v.Unit); err != nil {
		return err
	}
	if force {
		return nil
	}
	return checkSurvival(v.unit, v.Unit, v.inUnit)
}

// isRunning reports whether a process runs the file that is at path now.
func isRunning(pid int, path string) (bool, error) {
	exe, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return false, diag.Errorf(diag.TargetGone, "process %d has ended", pid)
	}
	file, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot compare the executable of process %d: %w", pid, err)
	}
	return os.SameFile(exe, file), nil
}
