//go:build linux

package swap

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// restoreReady bounds how long the original may take to serve.
const restoreReady = time.Minute

// Restore undoes all deploys, at whatever point they were interrupted: it compares the
// node with the records, and needs nothing else. Then it removes the agent's
// directories, including symbols. With DryRun it only says what it would do. What
// cannot be undone stays recorded, and the error's code is then diag.RestoreFailed.
func (r *Runner) Restore(ctx context.Context, q api.RestoreRequest) (done api.RestoreResult, err error) {
	s, unlock, err := openStore(r.Dir)
	if err != nil {
		return done, err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx) // a partial restore helps nobody
	recs, err := s.loadAll()
	if err != nil {
		return done, err
	}
	if !q.DryRun {
		release, err := s.preventAttach(ctx)
		if err != nil {
			return done, err
		}
		defer release()
	}
	var failed error
	for _, rec := range recs {
		u := &undo{Runner: r, store: s, rec: rec, q: q}
		if err := u.plan(ctx); err == nil && !q.DryRun {
			err = u.run(ctx)
			failed = errors.Join(failed, err)
		} else {
			failed = errors.Join(failed, err)
		}
		done.Units = append(done.Units, u.RestoredUnit)
	}
	if failed != nil {
		err := diag.Errorf(diag.RestoreFailed, "not everything was restored: %w", failed)
		if why := (*diag.Error)(nil); errors.As(failed, &why) {
			err.Hint = why.Hint
		}
		return done, err
	}
	for _, dir := range r.Remove {
		if q.DryRun {
			break
		}
		if err := checkOwner(dir); err != nil {
			return done, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return done, err
		}
	}
	done.Removed = strings.Join(r.Remove, ", ")
	return done, nil
}

// undo is the restore of one unit.
type undo struct {
	*Runner
	store store
	rec   *record
	q     api.RestoreRequest
	api.RestoredUnit

	restart     bool // the target runs a build of ours, or with other arguments, or not at all
	sameProgram bool // the unit still runs the executable that was replaced
	formerPID   int  // the process that is to be replaced
	formerTicks uint64
}

// plan compares the node with the record.
func (u *undo) plan(ctx context.Context) error {
	u.RestoredUnit = api.RestoredUnit{Unit: u.rec.Unit, Path: u.rec.Path, Stage: u.rec.Stage, DropIns: []string{}, Restarted: []string{}}
	if u.rec.Stage == stageKept {
		return nil // that run changed nothing: any difference is somebody else's
	}
	unit, err := u.systemd.show(ctx, u.rec.Unit)
	if err != nil {
		return err
	}
	p, err := u.mainProcess(ctx, u.rec.Unit)
	if err != nil {
		return err
	}
	u.formerPID, u.formerTicks, u.PID = p.PID, p.StartTicks, p.PID
	program, _ := filepath.EvalSymlinks(unit.exec)
	u.sameProgram = p.PID != 0 && p.Exe == u.rec.Path || program == u.rec.Path || unit.exec == u.rec.Path
	if err := u.compareFile(); err != nil {
		return err
	}
	u.restart = p.PID == 0 || u.isOutdated(p.PID)
	for _, d := range u.rec.DropIns {
		if _, err := os.Lstat(d.Path); err == nil {
			u.DropIns = append(u.DropIns, d.Path)
		}
		// Even without the file the setting may be in force: a run may have been
		// interrupted.
		if d.Unit == u.rec.Unit {
			u.restart = true
		} else if !slices.Contains(u.Restarted, d.Unit) {
			u.Restarted = append(u.Restarted, d.Unit)
		}
	}
	if unit.load == notFound {
		u.restart = false
	}
	if u.restart {
		u.Restarted = append(u.Restarted, u.rec.Unit)
		u.Session, err = u.findSession(p.PID)
	}
	return err
}

// compareFile decides whether the file must be put back.
func (u *undo) compareFile() error {
	now, err := describeFile(u.rec.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		u.File = u.sameProgram
	case errors.Is(err, errNotRegular) || err == nil && !u.rec.isKnown(now):
		u.Replaced, u.File = true, u.q.Replaced == api.UndoReplaced
		if u.q.Replaced != api.KeepReplaced && u.q.Replaced != api.UndoReplaced {
			return diag.Errorf(diag.RestoreFailed, "%s was replaced since the last deploy, by an upgrade or by hand", u.rec.Path).
				WithHint("dapbridge restore --replaced keep leaves it as it is, --replaced undo puts the original back")
		}
	case err != nil:
		return err
	default:
		u.File = !now.matches(u.rec.Original)
	}
	return nil
}

// isOutdated reports whether a process runs an executable that must be replaced, or
// has exited.
func (u *undo) isOutdated(pid int) bool {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return true
	}
	defer f.Close()
	sum, err := hashReader(f)
	return err != nil || u.mustEnd(sum)
}

// mustEnd reports whether a process that runs an executable with this SHA-256 must end.
func (u *undo) mustEnd(sum string) bool {
	replaced := u.Replaced && u.File && u.sameProgram
	return sum != u.rec.Original.SHA256 && (replaced || slices.Contains(u.rec.Builds, sum))
}

// endSessions ends the debug sessions with everything that is about to be restarted.
func (u *undo) endSessions(ctx context.Context) error {
	for _, unit := range u.Restarted {
		p, err := u.mainProcess(ctx, unit)
		if err != nil {
			return err
		}
		if err := u.endSession(ctx, p.PID, p.Exe, api.SwapRestore, u.q.By); err != nil {
			return err
		}
	}
	return nil
}

func (u *undo) run(ctx context.Context) error {
	if err := u.endSessions(ctx); err != nil {
		return err
	}
	if err := u.restoreFile(); err != nil {
		return err
	}
	changed, err := u.systemd.apply(ctx, u.rec.DropIns, nil, true)
	if err != nil {
		return err
	}
	if u.restart {
		u.Report(api.SwapProgress{Step: api.StepRestarting})
		if now, err := u.systemd.show(ctx, u.rec.Unit); err == nil && now.active == "activating" {
			u.killProcess(ctx, u.rec.Unit, u.mustEnd)
		}
		want := goal{unit: u.rec.Unit, sockets: u.rec.Sockets, formerPID: u.formerPID, formerTicks: u.formerTicks, proven: true}
		if u.sameProgram {
			want.path = u.rec.Path
		}
		if u.PID, err = u.Runner.restart(ctx, want, restoreReady); err != nil {
			return err
		}
	}
	for _, unit := range changed {
		if unit != u.rec.Unit {
			if err := u.restartUnit(ctx, unit, restoreReady); err != nil {
				return err
			}
		}
	}
	return u.store.delete(u.rec.Unit)
}

// restoreFile puts the original back: the file itself if an interrupted run has left
// it, or else its copy.
func (u *undo) restoreFile() error {
	prev, next := siblingPath(u.rec.Path, "prev"), siblingPath(u.rec.Path, "next")
	if !u.File {
		return removeLeftovers(u.rec.Path)
	}
	if was, err := describeFile(prev); err == nil && was.matches(u.rec.Original) {
		if err := renameSynced(prev, u.rec.Path); err != nil {
			return err
		}
		return removeLeftovers(u.rec.Path)
	}
	if err := removeLeftovers(u.rec.Path); err != nil {
		return err
	}
	if err := checkSpace(filepath.Dir(u.rec.Path), u.rec.Original.Size); err != nil {
		return err
	}
	copied, err := openFile(u.store.originalPath(u.rec.Unit))
	if err != nil {
		return err
	}
	defer copied.Close()
	o := u.rec.Original
	err = createFile(next, copied, o.Size, o.SHA256, func(f *os.File) error {
		if err := o.apply(f); err != nil {
			return err
		}
		if err := os.Chtimes(next, time.Time{}, o.ModTime); err != nil {
			return err
		}
		return f.Sync()
	})
	if err != nil {
		return err
	}
	return renameSynced(next, u.rec.Path)
}
