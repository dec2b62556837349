//go:build linux

package swap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// abort cleans up after a run that has changed nothing yet and returns why, with any
// error of its own.
func (d *deploy) abort(why error) error {
	if d.former.Stage == stageKept {
		return errors.Join(why, removeLeftovers(d.Path), d.store.delete(d.Unit))
	}
	return errors.Join(why, removeLeftovers(d.Path), d.store.save(&d.former))
}

// siblingPath returns the path of a file of ours in the directory of the target's
// executable: only files of the same file system can be renamed to it.
func siblingPath(path, what string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".dapbridge-"+what)
}

// removeLeftovers removes the files of an interrupted run.
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

// rollBack undoes everything after the failure why, and waits until the former build
// serves again. That build is started even if something else could not be undone, and
// before the other units, which may need it.
func (d *deploy) rollBack(ctx context.Context, why error) error {
	d.Report(api.SwapProgress{Step: api.StepRollingBack})
	f := &api.DeployFailure{Journal: d.systemd.readJournal(ctx, d.Unit)}
	if d.swapped {
		if err := renameSynced(siblingPath(d.Path, "prev"), d.Path); err != nil {
			f.Err = diag.Errorf(diag.DeployStuck, "the new build does not serve: %v; and the former one cannot be put back: %w", why, err)
			return f
		}
	}
	was := d.former.effectiveSettings()
	changed, left := d.systemd.apply(ctx, d.change.union(d.former.DropIns), was.DropIns, d.former.Stage == stageSwapping)
	d.killProcess(ctx, d.Unit, func(sum string) bool { return sum == d.q.SHA256 })
	_, err := d.restart(ctx, goal{unit: d.Unit, path: d.Path, sockets: d.Sockets, proven: true}, max(d.q.Ready, rollbackReady))
	left = errors.Join(left, d.restartOthers(ctx, changed), removeLeftovers(d.Path))
	if err != nil {
		f.Err = diag.Errorf(diag.DeployStuck, "the new build does not serve: %v; neither does the former one: %w", why, errors.Join(err, left))
		return f
	}
	if left == nil {
		left = d.recordRollback(was)
	}
	f.Err = diag.Errorf(diag.DeployFailed, "the new build does not serve: %w", why)
	if left != nil {
		f.Err = diag.Errorf(diag.DeployStuck, "%v; the former one serves, but not everything was undone: %w", f.Err, left)
	}
	return f
}

// rollbackReady is the least time that the former build gets to serve again.
const rollbackReady = 30 * time.Second

// recordRollback records that everything is as it was before the run.
func (d *deploy) recordRollback(was settings) error {
	if d.former.Stage == stageKept {
		return d.store.delete(d.Unit)
	}
	r := d.former
	r.Stage, r.settings, r.Before = stageDeployed, was, settings{}
	return d.store.save(&r)
}
