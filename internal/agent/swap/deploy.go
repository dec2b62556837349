//go:build linux

package swap

import (
	"context"
	"errors"
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

// Deploy puts a build, which it reads from in in the format of package delta, in place
// of the target's executable, and restarts the target. A build that is already in
// place is not read. It returns when the new process serves, or when the former build
// serves again, with a [*api.DeployFailure]. From the swap on it ignores the end of
// ctx.
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
		return api.DeployResult{}, diag.Errorf(diag.DeployBuild, "the build cannot run on the node, which lacks %s", missing).
			WithHint("build it statically (CGO_ENABLED=0 go build …), or in an environment with the node's libraries")
	}
	if v.isCurrent(q) {
		return api.DeployResult{InspectResult: v.InspectResult, PID: v.PID}, nil
	}
	d := &deploy{Runner: r, store: s, q: q, view: v}
	return d.run(ctx, in)
}

// checkDeploy refuses a request that our host would not send.
func (r *Runner) checkDeploy(q api.DeployRequest) error {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(q.SHA256) || q.Size <= 0 || q.Ready <= 0 || r.IdleTimeout <= 0 {
		return diag.Errorf(diag.Internal, "invalid deploy request: %d bytes, SHA-256 %q, ready within %v, idle timeout %v", q.Size, q.SHA256, q.Ready, r.IdleTimeout)
	}
	return nil
}

// isCurrent reports whether everything is already as requested.
func (v *view) isCurrent(q api.DeployRequest) bool {
	complete := v.rec == nil || v.rec.Stage == stageDeployed
	return v.SHA256 == q.SHA256 && v.Current && complete && slices.Equal(v.Args, q.Args) && v.Relaxed == q.Relax
}

// deploy is one run of Deploy.
type deploy struct {
	*Runner
	store store
	q     api.DeployRequest
	view

	former      record    // the record when this run began
	change      change    // to the units
	modified    bool      // something was changed
	swapped     bool      // the executable was replaced
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

// endSessions ends the debug sessions with everything that is about to be restarted.
// The target may have been restarted during the upload. Once no debugger halts the
// target, its health sockets can be determined.
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

// saveOriginal copies the original, unless an earlier run has done so.
func (d *deploy) saveOriginal() error {
	if d.rec != nil {
		return nil
	}
	d.Report(api.SwapProgress{Step: api.StepSavingOriginal})
	d.rec = &record{Unit: d.Unit, Path: d.Path, Original: d.file, Argv: d.argv, Sockets: d.Sockets}
	return d.store.create(d.rec)
}

// receive reads the new build, unless it is in place, and gives the former one a
// second name for the rollback.
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
		err = diag.Errorf(diag.DeployShip, "cannot receive the build: %w", err)
	}
	if err != nil {
		return err
	}
	return d.explainIrreplaceable(os.Link(d.Path, siblingPath(d.Path, "prev")))
}

// explainIrreplaceable explains why no file can be renamed to the target's path: a
// file is mounted there, it is immutable, or the file system has no links.
func (d *deploy) explainIrreplaceable(err error) error {
	if err == nil {
		return nil
	}
	return diag.Errorf(diag.DeployRefused, "%s cannot be replaced: %w", d.Path, err).
		WithHint("find out why on the node: findmnt -T %[1]s; lsattr %[1]s", d.Path)
}

// swap replaces the executable and restarts the target. It records what it will do
// before it does it.
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
