//go:build linux

package swap

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// change is what a run changes in units.
type change struct {
	want []dropIn
	argv []string // the target's new command line; nil if it stays
}

// union returns the drop-ins that may exist at some moment of the change from before
// to c.want.
func (c change) union(before []dropIn) []dropIn {
	all := slices.Clone(c.want)
	for _, d := range before {
		if !slices.ContainsFunc(all, func(e dropIn) bool { return e.Path == d.Path }) {
			all = append(all, d)
		}
	}
	return all
}

// kubeletTimeout lets kubelet's calls wait while a container runtime is halted.
// By default kubelet declares the node broken after two minutes
// (KubeletConfiguration, runtimeRequestTimeout).
const kubeletTimeout = "--runtime-request-timeout=24h"

// planUnits determines the drop-ins that a request needs.
func (d *deploy) planUnits(ctx context.Context) (change, error) {
	var c change
	var settings []string
	if len(d.q.Args) > 0 {
		argv := d.argv
		if d.rec != nil {
			argv = d.rec.Argv
		}
		program, err := d.findProgram(argv)
		if err != nil {
			return c, err
		}
		c.argv = slices.Concat(argv, d.q.Args)
		settings = formatExecStart(program, c.argv)
	}
	if d.q.Relax {
		settings = append(settings, "WatchdogSec=0")
		if k, err := d.newKubeletDropIn(ctx); err != nil || k != nil {
			if err != nil {
				return c, err
			}
			c.want = append(c.want, *k)
		}
	}
	if settings != nil {
		c.want = append(c.want, newDropIn(unitFiles, d.Unit, settings...))
	}
	return c, nil
}

// findProgram returns the name by which the unit must start the target's executable.
// If the unit starts it through a script, arguments cannot be added.
func (d *deploy) findProgram(argv []string) (string, error) {
	if len(argv) == 0 {
		return "", diag.Errorf(diag.DeployRefused, "the command line of %s is not known", d.Unit)
	}
	if real, err := filepath.EvalSymlinks(d.unit.exec); err != nil || real != d.Path {
		return "", diag.Errorf(diag.DeployRefused, "%s starts %s through %s, which cannot pass on an argument", d.Unit, d.Path, d.unit.exec).
			WithHint("leave out --arg, and add the argument in that script")
	}
	if real, err := filepath.EvalSymlinks(argv[0]); err == nil && filepath.IsAbs(argv[0]) && real == d.Path {
		return argv[0], nil
	}
	return d.Path, nil
}

// newKubeletDropIn returns the drop-in that raises kubelet's timeout, nil if kubelet
// does not run or is the target itself.
func (d *deploy) newKubeletDropIn(ctx context.Context) (*dropIn, error) {
	p, err := procfs.Find(ctx, api.Selector{Name: kubelet})
	if diag.CodeOf(err) == diag.TargetNone || err == nil && (p.Unit == d.Unit || p.Unit != api.ServiceOf(kubelet)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	u, err := d.systemd.show(ctx, p.Unit)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(u.exec); err != nil || real != p.Exe || len(p.Args) == 0 {
		return nil, diag.Errorf(diag.DeployRefused, "%s starts %s through %s, so that its timeout cannot be raised", p.Unit, p.Exe, u.exec).
			WithHint("leave out --relax, and set runtimeRequestTimeout in kubelet's configuration")
	}
	argv := slices.DeleteFunc(slices.Clone(p.Args), func(a string) bool { return a == kubeletTimeout })
	program := p.Exe
	if real, err := filepath.EvalSymlinks(argv[0]); err == nil && filepath.IsAbs(argv[0]) && real == p.Exe {
		program = argv[0]
	}
	in := newDropIn(unitFiles, p.Unit, formatExecStart(program, append(argv, kubeletTimeout))...)
	return &in, nil
}

// apply replaces the drop-ins in before by those in want, reloads systemd, and returns
// the units that have changed. unsure means that an earlier run was interrupted, so that
// it is not known whether the files are in effect: then all units count as changed.
func (s systemd) apply(ctx context.Context, before, want []dropIn, unsure bool) (changed []string, err error) {
	note := func(unit string) {
		if !slices.Contains(changed, unit) {
			changed = append(changed, unit)
		}
	}
	if unsure {
		for _, d := range slices.Concat(before, want) {
			note(d.Unit)
		}
	}
	for _, d := range before {
		if slices.ContainsFunc(want, func(w dropIn) bool { return w.Path == d.Path }) {
			continue
		}
		existed, err := d.remove()
		if err != nil {
			return changed, err
		}
		if existed {
			note(d.Unit)
		}
	}
	for _, d := range want {
		if text, err := os.ReadFile(d.Path); err == nil && string(text) == d.Text {
			continue
		}
		if err := d.write(); err != nil {
			return changed, err
		}
		note(d.Unit)
	}
	if len(changed) == 0 {
		return nil, nil
	}
	return changed, s.reload(ctx)
}

// mainProcess returns a unit's main process, the zero Process if there is none.
func (r *Runner) mainProcess(ctx context.Context, unit string) (api.Process, error) {
	u, err := r.systemd.show(ctx, unit)
	if err != nil || u.mainPID == 0 {
		return api.Process{}, err
	}
	return procfs.Find(ctx, api.Selector{PID: u.mainPID})
}
