//go:build linux

package swap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/delta"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/idle"
)

// Deploy puts the build that comes in, as package delta packs it, in the place of
// the target's executable, and restarts the target; one that stands there already
// is not read. It returns when the new process serves, or else when the former one
// does again, with a *Failure. From the swap on it does not mind the end of ctx.
func (r *Runner) Deploy(ctx context.Context, q api.DeployRequest, in io.Reader) (api.DeployResult, error) {
	if err := r.checkDeploy(q); err != nil {
		return api.DeployResult{}, err
	}
	s, unlock, err := openStore(r.Dir)
	if err != nil {
		return api.DeployResult{}, err
	}
	defer unlock()
	v, err := r.newView(ctx, s, q.Target, q.Force)
	if err != nil {
		return api.DeployResult{}, err
	}
	if v.rec != nil && v.rec.Stage == stageSwapping {
		if err := undoSwap(v.Path); err != nil {
			return api.DeployResult{}, err
		}
		if v, err = r.newView(ctx, s, q.Target, q.Force); err != nil {
			return api.DeployResult{}, err
		}
	}
	if err := removeLeftovers(v.Path); err != nil {
		return api.DeployResult{}, err
	}
	if missing := q.Needs.Missing("/"); missing != "" {
		return api.DeployResult{}, diag.Errorf(diag.DeployBuild, "the build does not run on the node, which lacks %s", missing).
			WithHint("build it static (CGO_ENABLED=0 go build …), or where the libraries are the node's: in its image")
	}
	if v.isCurrent(q) {
		return api.DeployResult{InspectResult: v.InspectResult, PID: v.PID}, nil
	}
	d := &deploy{Runner: r, store: s, q: q, view: v}
	return d.run(ctx, in)
}

// checkDeploy refuses what no host of ours asks for.
func (r *Runner) checkDeploy(q api.DeployRequest) error {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(q.SHA256) || q.Size <= 0 || q.Ready <= 0 || r.IdleTimeout <= 0 {
		return diag.Errorf(diag.Internal, "a deploy of %d bytes with SHA-256 %q within %v, idle timeout %v", q.Size, q.SHA256, q.Ready, r.IdleTimeout)
	}
	return nil
}

// current reports whether all is as it is asked for.
func (v *view) isCurrent(q api.DeployRequest) bool {
	asWas := v.rec == nil || v.rec.Stage == stageDeployed
	return v.SHA256 == q.SHA256 && v.Current && asWas && slices.Equal(v.Args, q.Args) && v.Relaxed == q.Relax
}

// deploy is one run.
type deploy struct {
	*Runner
	store store
	q     api.DeployRequest
	view

	former      record    // as it was when this run began
	change      change    // of the units
	modified    bool      // something was changed
	swapped     bool      // the file was renamed
	restartedAt time.Time // when the target was restarted
}

func (d *deploy) run(ctx context.Context, in io.Reader) (api.DeployResult, error) {
	var err error
	if d.change, err = d.planUnits(ctx); err != nil {
		return api.DeployResult{}, err
	}
	if err := d.saveOriginal(); err != nil {
		return api.DeployResult{}, err
	}
	d.former = *d.rec
	err = d.receive(in)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return api.DeployResult{}, d.abort(err)
	}
	ctx = context.WithoutCancel(ctx)
	release, err := d.store.preventAttach(ctx)
	if err != nil {
		return api.DeployResult{}, d.abort(err)
	}
	defer release()
	if err := d.endSessions(ctx); err != nil {
		return api.DeployResult{}, d.abort(err)
	}
	pid, err := d.swap(ctx)
	switch {
	case err != nil && !d.modified:
		return api.DeployResult{}, d.abort(err)
	case err != nil:
		return api.DeployResult{}, d.rollBack(ctx, err)
	}
	out := api.DeployResult{InspectResult: d.InspectResult, Swapped: d.swapped, PID: pid, Served: time.Since(d.restartedAt)}
	d.rec.Stage, d.rec.DropIns, d.rec.Before, d.rec.Builds = stageDeployed, d.change.want, settings{}, []string{d.q.SHA256}
	if err := d.store.save(d.rec); err != nil {
		return out, err
	}
	now, _, err := listTasks(ctx, d.Unit)
	if err != nil {
		return out, err
	}
	out.Lost = findLost(d.Tasks, now)
	return out, removeIfExists(siblingPath(d.Path, "prev"))
}

// leave ends a run that has changed nothing yet, because of why.
func (d *deploy) abort(why error) error {
	if d.former.Stage == stageKept {
		return errors.Join(why, removeLeftovers(d.Path), d.store.delete(d.Unit))
	}
	return errors.Join(why, removeLeftovers(d.Path), d.store.save(&d.former))
}

func (d *deploy) refreshSockets(ctx context.Context) error {
	p, err := d.mainProcess(ctx, d.Unit)
	if err != nil {
		return err
	}
	d.Sockets, err = waitHealthSockets(ctx, p, len(d.Sockets))
	if d.former.Stage == stageKept {
		d.rec.Sockets = d.Sockets
	}
	return err
}

// endSessions ends the debug sessions with all that is about to be restarted. The
// target may have been restarted while the build was on its way. It then learns where
// a target really answers that no debugger has any more.
func (d *deploy) endSessions(ctx context.Context) error {
	if p, err := d.mainProcess(ctx, d.Unit); err == nil {
		d.PID, d.ticks = p.PID, p.StartTicks
	}
	if err := d.endSession(ctx, d.PID, d.Path, api.SwapDeploy, d.q.By); err != nil {
		return err
	}
	if d.Session != "" {
		if err := d.refreshSockets(ctx); err != nil {
			return err
		}
	}
	for _, in := range d.change.union(d.former.DropIns) {
		if in.Unit == d.Unit {
			continue
		}
		p, err := d.mainProcess(ctx, in.Unit)
		if err != nil {
			return err
		}
		if err := d.endSession(ctx, p.PID, p.Exe, api.SwapDeploy, d.q.By); err != nil {
			return err
		}
	}
	return nil
}

// keep copies the original, unless an earlier run did.
func (d *deploy) saveOriginal() error {
	if d.rec != nil {
		return nil
	}
	d.Report(api.SwapProgress{Step: api.StepSavingOriginal})
	d.rec = &record{Unit: d.Unit, Path: d.Path, Original: d.file, Argv: d.argv, Sockets: d.Sockets}
	return d.store.create(d.rec)
}

// beside names a file of ours in the directory of the target's executable:
// what is renamed must be on its file system.
func siblingPath(path, what string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".dapbridge-"+what)
}

// tidy removes what a run has left that did not come to its end.
func removeLeftovers(path string) error {
	return errors.Join(removeIfExists(siblingPath(path, "next")), removeIfExists(siblingPath(path, "prev")))
}

// undoSwap puts the former file back if an interrupted run has left it.
func undoSwap(path string) error {
	if _, err := os.Lstat(siblingPath(path, "prev")); err != nil {
		return nil
	}
	return renameSynced(siblingPath(path, "prev"), path)
}

// receive takes the new build, unless it stands there, and gives the former one the
// name by which it can be had again.
func (d *deploy) receive(in io.Reader) error {
	if d.SHA256 == d.q.SHA256 {
		return nil
	}
	if err := checkSpace(filepath.Dir(d.Path), d.q.Size); err != nil {
		return err
	}
	former, err := openFile(d.Path)
	if err != nil {
		return err
	}
	defer former.Close()
	d.Report(api.SwapProgress{Step: api.StepReceiving, Former: d.SHA256})
	alive := idle.NewReader(in, d.IdleTimeout)
	defer alive.Close()
	build := delta.NewReader(alive, io.NewSectionReader(former, 0, d.Size))
	err = createFile(siblingPath(d.Path, "next"), build, d.q.Size, d.q.SHA256, d.file.apply)
	if e := (*diag.Error)(nil); err != nil && !errors.As(err, &e) {
		err = diag.Errorf(diag.DeployShip, "the build did not arrive: %w", err)
	}
	if err != nil {
		return err
	}
	return d.explainIrreplaceable(os.Link(d.Path, siblingPath(d.Path, "prev")))
}

// irreplaceable explains why nothing can be renamed into the target's place: a file
// that is mounted there, one that is immutable, a file system without links.
func (d *deploy) explainIrreplaceable(err error) error {
	if err == nil {
		return nil
	}
	return diag.Errorf(diag.DeployRefused, "%s can't be replaced: %w", d.Path, err).
		WithHint("see on the node what it is: findmnt -T %[1]s; lsattr %[1]s", d.Path)
}

// swap does it: what is about to be is written down first.
func (d *deploy) swap(ctx context.Context) (int, error) {
	d.rec.Stage, d.rec.Before = stageSwapping, d.former.effectiveSettings()
	d.rec.settings = settings{Args: d.q.Args, Relaxed: d.q.Relax, DropIns: d.change.union(d.former.DropIns)}
	d.rec.Builds = append(slices.Clone(d.former.Builds), d.q.SHA256)
	if err := d.store.save(d.rec); err != nil {
		return 0, err
	}
	d.Report(api.SwapProgress{Step: api.StepSwapping})
	d.restartedAt = time.Now()
	if d.SHA256 != d.q.SHA256 {
		if err := os.Rename(siblingPath(d.Path, "next"), d.Path); err != nil {
			return 0, d.explainIrreplaceable(err)
		}
		d.modified, d.swapped = true, true
		if err := syncDir(filepath.Dir(d.Path)); err != nil {
			return 0, err
		}
	}
	d.modified = true
	changed, err := d.systemd.apply(ctx, d.former.DropIns, d.change.want, d.former.Stage == stageSwapping)
	if err != nil {
		return 0, err
	}
	d.Report(api.SwapProgress{Step: api.StepRestarting})
	d.restartedAt = time.Now()
	pid, err := d.restart(ctx, goal{
		unit: d.Unit, path: d.Path, argv: d.change.argv, sockets: d.rec.Sockets, formerPID: d.PID, formerTicks: d.ticks,
	}, d.q.Ready)
	if err != nil {
		return 0, err
	}
	return pid, d.restartOthers(ctx, changed)
}

// others restarts the other units that were changed.
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

// again restarts a unit whose executable stays. One that is gone since needs nothing.
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

// takeBack makes all as it was, because of why, and has the former build serve again:
// it is started whatever else could not be undone, and before the others, which may
// need it.
func (d *deploy) rollBack(ctx context.Context, why error) error {
	d.Report(api.SwapProgress{Step: api.StepRollingBack})
	f := &api.DeployFailure{Journal: d.systemd.readJournal(ctx, d.Unit)}
	if d.swapped {
		if err := renameSynced(siblingPath(d.Path, "prev"), d.Path); err != nil {
			f.Err = diag.Errorf(diag.DeployStuck, "the new build does not serve: %v; and the former one can't be put back: %w", why, err)
			return f
		}
	}
	was := d.former.effectiveSettings()
	changed, left := d.systemd.apply(ctx, d.change.union(d.former.DropIns), was.DropIns, d.former.Stage == stageSwapping)
	d.killProcess(ctx, d.Unit, func(sum string) bool { return sum == d.q.SHA256 })
	_, err := d.restart(ctx, goal{unit: d.Unit, path: d.Path, sockets: d.Sockets, proven: true}, max(d.q.Ready, rollbackReady))
	left = errors.Join(left, d.restartOthers(ctx, changed), removeLeftovers(d.Path))
	if err != nil {
		f.Err = diag.Errorf(diag.DeployStuck, "the new build does not serve: %v; and the former one neither: %w", why, errors.Join(err, left))
		return f
	}
	if left == nil {
		left = d.recordRollback(was)
	}
	f.Err = diag.Errorf(diag.DeployFailed, "the new build does not serve: %w", why)
	if left != nil {
		f.Err = diag.Errorf(diag.DeployStuck, "%v; the former one serves, but: %w", f.Err, left)
	}
	return f
}

// formerReady is the least time that the former build gets to serve again.
const rollbackReady = 30 * time.Second

// settle writes down that all is as it was.
func (d *deploy) recordRollback(was settings) error {
	if d.former.Stage == stageKept {
		return d.store.delete(d.Unit)
	}
	r := d.former
	r.Stage, r.settings, r.Before = stageDeployed, was, settings{}
	return d.store.save(&r)
}
