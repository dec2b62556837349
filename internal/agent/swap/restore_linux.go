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

// restoreReady is how long the original may take to serve.
const restoreReady = time.Minute

// Restore undoes what was done to all units, at whatever point a run was
// interrupted: it compares what there is with what is recorded, and needs no
// more. Then it removes the agent's directory, with the symbols in it. With
// DryRun it says what it would do. What can't be undone stays recorded; the
// error's code is then diag.RestoreFailed.
func (r *Runner) Restore(ctx context.Context, q api.RestoreRequest) (done api.RestoreResult, err error) {
	s, unlock, err := openStore(r.Dir)
	if err != nil {
		return done, err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx) // half of it helps nobody
	recs, err := s.all()
	if err != nil {
		return done, err
	}
	if !q.DryRun {
		release, err := s.holdOff(ctx)
		if err != nil {
			return done, err
		}
		defer release()
	}
	var failed error
	for _, rec := range recs {
		u := &undo{Runner: r, store: s, rec: rec, q: q}
		if err := u.look(ctx); err == nil && !q.DryRun {
			err = u.run(ctx)
			failed = errors.Join(failed, err)
		} else {
			failed = errors.Join(failed, err)
		}
		done.Units = append(done.Units, u.RestoredUnit)
	}
	if failed != nil {
		err := diag.Errorf(diag.RestoreFailed, "not all is as it was: %w", failed)
		if why := (*diag.Error)(nil); errors.As(failed, &why) {
			err.Hint = why.Hint
		}
		return done, err
	}
	for _, dir := range r.Remove {
		if q.DryRun {
			break
		}
		if err := owned(dir); err != nil {
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

	restart bool // the target runs a build of ours, or with other arguments, or not at all
	isIt    bool // the unit's program is still the one that was kept
	not     int  // the process that is to be replaced
	since   uint64
}

// look compares what there is with what is recorded.
func (u *undo) look(ctx context.Context) error {
	u.RestoredUnit = api.RestoredUnit{Unit: u.rec.Unit, Path: u.rec.Path, Stage: u.rec.Stage, DropIns: []string{}, Restarted: []string{}}
	if u.rec.Stage == stageKept {
		return nil // that run changed nothing: what differs is others' doing
	}
	unit, err := u.systemd.show(ctx, u.rec.Unit)
	if err != nil {
		return err
	}
	p, err := u.mainProcess(ctx, u.rec.Unit)
	if err != nil {
		return err
	}
	u.not, u.since, u.PID = p.PID, p.StartTicks, p.PID
	program, _ := filepath.EvalSymlinks(unit.exec)
	u.isIt = p.PID != 0 && p.Exe == u.rec.Path || program == u.rec.Path || unit.exec == u.rec.Path
	if err := u.compare(); err != nil {
		return err
	}
	u.restart = p.PID == 0 || u.outdated(p.PID)
	for _, d := range u.rec.DropIns {
		if _, err := os.Lstat(d.Path); err == nil {
			u.DropIns = append(u.DropIns, d.Path)
		}
		// Without the file it may be in force still: a run may have been cut off.
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
		u.Session, err = u.sessionOf(p.PID)
	}
	return err
}

// compare looks whether the file is to be put back.
func (u *undo) compare() error {
	now, err := readFile(u.rec.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		u.File = u.isIt
	case errors.Is(err, errNotRegular) || err == nil && !u.rec.knows(now):
		u.Replaced, u.File = true, u.q.Replaced == api.UndoReplaced
		if u.q.Replaced != api.KeepReplaced && u.q.Replaced != api.UndoReplaced {
			return diag.Errorf(diag.RestoreFailed, "%s was replaced since the last deploy, by an upgrade or by hand", u.rec.Path).
				WithHint("dapbridge restore --replaced keep leaves it as it is, --replaced undo puts the original back in its place")
		}
	case err != nil:
		return err
	default:
		u.File = !now.same(u.rec.Original)
	}
	return nil
}

// outdated reports whether a process runs what is not to run any more, or has ended.
func (u *undo) outdated(pid int) bool {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return true
	}
	defer f.Close()
	sum, err := hash(f)
	return err != nil || u.toEnd(sum)
}

// toEnd reports whether what has that SHA-256 is not to run any more.
func (u *undo) toEnd(sum string) bool {
	replaced := u.Replaced && u.File && u.isIt
	return sum != u.rec.Original.SHA256 && (replaced || slices.Contains(u.rec.Builds, sum))
}

// endSessions ends the debug sessions with all that is about to be restarted.
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
	if err := u.file(); err != nil {
		return err
	}
	changed, err := u.systemd.apply(ctx, u.rec.DropIns, nil, true)
	if err != nil {
		return err
	}
	if u.restart {
		u.Report(api.SwapProgress{Step: api.StepRestarting})
		if now, err := u.systemd.show(ctx, u.rec.Unit); err == nil && now.active == "activating" {
			u.end(ctx, u.rec.Unit, u.toEnd)
		}
		want := wanted{unit: u.rec.Unit, sockets: u.rec.Sockets, not: u.not, since: u.since, proven: true}
		if u.isIt {
			want.path = u.rec.Path
		}
		if u.PID, err = u.Runner.restart(ctx, want, restoreReady); err != nil {
			return err
		}
	}
	for _, unit := range changed {
		if unit != u.rec.Unit {
			if err := u.again(ctx, unit, restoreReady); err != nil {
				return err
			}
		}
	}
	return u.store.forget(u.rec.Unit)
}

// file puts the original back: the very file if an interrupted run has left it
// beside, else its copy.
func (u *undo) file() error {
	prev, next := beside(u.rec.Path, "prev"), beside(u.rec.Path, "next")
	if !u.File {
		return tidy(u.rec.Path)
	}
	if was, err := readFile(prev); err == nil && was.same(u.rec.Original) {
		if err := replace(prev, u.rec.Path); err != nil {
			return err
		}
		return tidy(u.rec.Path)
	}
	if err := tidy(u.rec.Path); err != nil {
		return err
	}
	if err := room(filepath.Dir(u.rec.Path), u.rec.Original.Size); err != nil {
		return err
	}
	copied, err := openFile(u.store.original(u.rec.Unit))
	if err != nil {
		return err
	}
	defer copied.Close()
	o := u.rec.Original
	err = create(next, copied, o.Size, o.SHA256, func(f *os.File) error {
		if err := o.dress(f); err != nil {
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
	return replace(next, u.rec.Path)
}
