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

	"github.com/dapbridge/dapbridge/internal/delta"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/idle"
)

// Deploy puts the build that comes in, as package delta packs it, in the place of
// the target's executable, and restarts the target; one that stands there already
// is not read. It returns when the new process serves, or else when the former one
// does again, with a *Failure. From the swap on it does not mind the end of ctx.
func (r *Runner) Deploy(ctx context.Context, q Request, in io.Reader) (Deployed, error) {
	if err := q.check(); err != nil {
		return Deployed{}, err
	}
	s, unlock, err := openStore(r.Dir)
	if err != nil {
		return Deployed{}, err
	}
	defer unlock()
	v, err := r.view(ctx, s, q)
	if err != nil {
		return Deployed{}, err
	}
	if v.rec != nil && v.rec.Stage == stageSwapping {
		if err := undoSwap(v.Path); err != nil {
			return Deployed{}, err
		}
		if v, err = r.view(ctx, s, q); err != nil {
			return Deployed{}, err
		}
	}
	if err := tidy(v.Path); err != nil {
		return Deployed{}, err
	}
	if missing := q.Needs.Missing("/"); missing != "" {
		return Deployed{}, diag.Errorf(diag.DeployBuild, "the build does not run on the node, which lacks %s", missing).
			WithHint("build it static (CGO_ENABLED=0 go build …), or where the libraries are the node's: in its image")
	}
	if v.current(q) {
		return Deployed{State: v.State, PID: v.PID}, nil
	}
	d := &deploy{Runner: r, store: s, q: q, view: v}
	return d.run(ctx, in)
}

// check refuses what no host of ours asks for.
func (q Request) check() error {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(q.SHA256) || q.Size <= 0 || q.Ready <= 0 || q.Patience <= 0 {
		return diag.Errorf(diag.Internal, "a deploy of %d bytes with SHA-256 %q within %v, patience %v", q.Size, q.SHA256, q.Ready, q.Patience)
	}
	return nil
}

// current reports whether all is as it is asked for.
func (v *view) current(q Request) bool {
	asWas := v.rec == nil || v.rec.Stage == stageDeployed
	return v.SHA256 == q.SHA256 && v.Current && asWas && slices.Equal(v.Args, q.Args) && v.Relaxed == q.Relax
}

// deploy is one run.
type deploy struct {
	*Runner
	store store
	q     Request
	view

	former  record    // as it was when this run began
	change  change    // of the units
	swapped bool      // the file was renamed
	since   time.Time // when the target was restarted
}

func (d *deploy) run(ctx context.Context, in io.Reader) (Deployed, error) {
	var err error
	if d.change, err = d.units(ctx); err != nil {
		return Deployed{}, err
	}
	fresh := d.rec == nil
	if err := d.keep(); err != nil {
		return Deployed{}, err
	}
	d.former = *d.rec
	if err := d.receive(in); err != nil {
		if fresh {
			err = errors.Join(err, d.store.forget(d.Unit))
		}
		return Deployed{}, err
	}
	if ctx.Err() != nil {
		return Deployed{}, errors.Join(context.Cause(ctx), tidy(d.Path))
	}
	ctx = context.WithoutCancel(ctx)
	release, err := d.store.holdOff(ctx)
	if err == nil {
		defer release()
		err = d.endSessions(ctx)
	}
	if err == nil && d.Session != "" {
		err = d.askAgain(ctx)
		if fresh {
			d.rec.Sockets = d.Sockets
		}
	}
	if err != nil { // nothing has been changed
		err = errors.Join(err, tidy(d.Path))
		if fresh {
			err = errors.Join(err, d.store.forget(d.Unit))
		}
		return Deployed{}, err
	}
	pid, err := d.swap(ctx)
	if err != nil {
		return Deployed{}, d.takeBack(ctx, err)
	}
	out := Deployed{State: d.State, Swapped: d.swapped, PID: pid, Served: time.Since(d.since)}
	d.rec.Stage, d.rec.DropIns = stageDeployed, d.change.want
	if err := d.store.save(d.rec); err != nil {
		return out, err
	}
	now, _, err := tasks(ctx, d.Unit)
	if err != nil {
		return out, err
	}
	out.Lost = lost(d.Tasks, now)
	return out, removeIfThere(beside(d.Path, "prev"))
}

// askAgain learns where the target really answers, now that no debugger has it.
func (d *deploy) askAgain(ctx context.Context) error {
	p, err := d.mainProcess(ctx, d.Unit)
	if err != nil {
		return err
	}
	d.Sockets, err = servedSoon(ctx, p, len(d.Sockets))
	return err
}

// endSessions ends the debug sessions with all that is about to be restarted. The
// target may have been restarted while the build was on its way.
func (d *deploy) endSessions(ctx context.Context) error {
	if p, err := d.mainProcess(ctx, d.Unit); err == nil {
		d.PID, d.ticks = p.PID, p.StartTicks
	}
	if err := d.endSession(ctx, d.PID, d.Path, DeployCommand, d.q); err != nil {
		return err
	}
	for _, in := range d.change.both(d.former.DropIns) {
		if in.Unit == d.Unit {
			continue
		}
		p, err := d.mainProcess(ctx, in.Unit)
		if err != nil {
			return err
		}
		if err := d.endSession(ctx, p.PID, p.Exe, DeployCommand, d.q); err != nil {
			return err
		}
	}
	return nil
}

// keep copies the original, unless an earlier run did.
func (d *deploy) keep() error {
	if d.rec != nil {
		return nil
	}
	d.Tell(Message{Step: Keeping})
	d.rec = &record{Unit: d.Unit, Path: d.Path, Original: d.file, Argv: d.argv, Sockets: d.Sockets}
	return d.store.keep(d.rec)
}

// beside names a file of ours in the directory of the target's executable:
// what is renamed must be on its file system.
func beside(path, what string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".dapbridge-"+what)
}

// tidy removes what a run has left that did not come to its end.
func tidy(path string) error {
	return errors.Join(removeIfThere(beside(path, "next")), removeIfThere(beside(path, "prev")))
}

// undoSwap puts the former file back if an interrupted run has left it.
func undoSwap(path string) error {
	if _, err := os.Lstat(beside(path, "prev")); err != nil {
		return nil
	}
	return replace(beside(path, "prev"), path)
}

// receive takes the new build, unless it stands there.
func (d *deploy) receive(in io.Reader) error {
	if d.SHA256 == d.q.SHA256 {
		return nil
	}
	if err := room(filepath.Dir(d.Path), d.q.Size); err != nil {
		return err
	}
	former, err := openFile(d.Path)
	if err != nil {
		return err
	}
	defer former.Close()
	d.Tell(Message{Step: Receiving, Former: d.SHA256})
	alive := idle.Reader(in, d.q.Patience)
	defer alive.Close()
	build := delta.NewReader(alive, io.NewSectionReader(former, 0, d.Size))
	err = create(beside(d.Path, "next"), build, d.q.Size, d.q.SHA256, d.file.dress)
	if e := (*diag.Error)(nil); err != nil && !errors.As(err, &e) {
		err = diag.Errorf(diag.DeployShip, "the build did not arrive: %w", err)
	}
	return err
}

// swap does it: what is about to be is written down first.
func (d *deploy) swap(ctx context.Context) (int, error) {
	d.rec.Stage, d.rec.Args, d.rec.Relaxed = stageSwapping, d.q.Args, d.q.Relax
	d.rec.DropIns = d.change.both(d.former.DropIns)
	if err := d.store.save(d.rec); err != nil {
		return 0, err
	}
	d.Tell(Message{Step: Swapping})
	d.since = time.Now()
	if d.SHA256 != d.q.SHA256 {
		if err := os.Link(d.Path, beside(d.Path, "prev")); err != nil {
			return 0, err
		}
		if err := replace(beside(d.Path, "next"), d.Path); err != nil {
			return 0, err
		}
		d.swapped = true
	}
	changed, err := d.systemd.apply(ctx, d.former.DropIns, d.change.want)
	if err != nil {
		return 0, err
	}
	d.Tell(Message{Step: Restarting})
	d.since = time.Now()
	pid, err := d.restart(ctx, wanted{
		unit: d.Unit, path: d.Path, argv: d.change.argv, sockets: d.rec.Sockets, not: d.PID, since: d.ticks,
	}, d.q.Ready)
	if err != nil {
		return 0, err
	}
	return pid, d.others(ctx, changed)
}

// others restarts the other units that were changed.
func (d *deploy) others(ctx context.Context, changed []string) error {
	for _, unit := range changed {
		if unit == d.Unit {
			continue
		}
		if err := d.again(ctx, unit, d.q.Ready); err != nil {
			return err
		}
	}
	return nil
}

// again restarts a unit whose executable stays.
func (r *Runner) again(ctx context.Context, unit string, ready time.Duration) error {
	p, err := r.mainProcess(ctx, unit)
	if err != nil {
		return err
	}
	_, err = r.restart(ctx, wanted{unit: unit, path: p.Exe, not: p.PID, since: p.StartTicks}, ready)
	if err != nil {
		return fmt.Errorf("restart %s: %w", unit, err)
	}
	return nil
}

// takeBack makes all as it was, because of why, and has the former build serve
// again.
func (d *deploy) takeBack(ctx context.Context, why error) error {
	d.Tell(Message{Step: Returning})
	f := &Failure{Journal: d.systemd.journal(ctx, d.Unit)}
	err := d.back(ctx)
	if err == nil {
		_, err = d.restart(ctx, wanted{unit: d.Unit, path: d.Path, sockets: d.Sockets, proven: true}, max(d.q.Ready, formerReady))
	}
	if err != nil {
		f.Err = diag.Errorf(diag.DeployStuck, "the new build does not serve: %v; and the former one neither: %w", why, err)
		return f
	}
	if d.former.Stage == stageKept {
		err = d.store.forget(d.Unit)
	} else {
		err = d.store.save(&d.former)
	}
	f.Err = diag.Errorf(diag.DeployFailed, "the new build does not serve: %w", why)
	if err != nil {
		f.Err = diag.Errorf(diag.DeployStuck, "%v; the former one serves, but: %w", f.Err, err)
	}
	return f
}

// formerReady is the least time that the former build gets to serve again.
const formerReady = 30 * time.Second

// back undoes what the run changed of files.
func (d *deploy) back(ctx context.Context) error {
	if d.swapped {
		if err := replace(beside(d.Path, "prev"), d.Path); err != nil {
			return err
		}
	}
	if err := tidy(d.Path); err != nil {
		return err
	}
	changed, err := d.systemd.apply(ctx, d.change.both(d.former.DropIns), d.former.DropIns)
	if err != nil {
		return err
	}
	d.end(ctx, d.Unit, func(sum string) bool { return sum == d.q.SHA256 })
	return d.others(ctx, changed)
}
