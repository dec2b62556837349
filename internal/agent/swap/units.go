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

// change is what a run asks of units.
type change struct {
	want []dropIn
	argv []string // the target's command line then; nil if it stays
}

// both is what is there at some moment between the drop-ins of before and those
// that are wanted.
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

// units works out the drop-ins for a request.
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

// program is how the unit is to name the target's executable. A unit that runs
// it by a script can't get arguments from outside.
func (d *deploy) findProgram(argv []string) (string, error) {
	if len(argv) == 0 {
		return "", diag.Errorf(diag.DeployRefused, "the command line of %s is not known", d.Unit)
	}
	if real, err := filepath.EvalSymlinks(d.unit.exec); err != nil || real != d.Path {
		return "", diag.Errorf(diag.DeployRefused, "%s starts %s by way of %s: an argument can't be added there", d.Unit, d.Path, d.unit.exec).
			WithHint("leave out --arg, and change what that script adds")
	}
	if real, err := filepath.EvalSymlinks(argv[0]); err == nil && filepath.IsAbs(argv[0]) && real == d.Path {
		return argv[0], nil
	}
	return d.Path, nil
}

// relaxKubelet makes the drop-in that lets kubelet wait, nil if none runs or
// kubelet is the target itself.
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
		return nil, diag.Errorf(diag.DeployRefused, "%s starts %s by way of %s: its timeout can't be raised there", p.Unit, p.Exe, u.exec).
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

// apply replaces the drop-ins of before by those that are wanted, has systemd
// read them, and returns the units of which something changed. After a run that was
// cut off, unsure, nobody knows whether what the files say is in force: then each
// unit counts.
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
		was, err := d.remove()
		if err != nil {
			return changed, err
		}
		if was {
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

// mainProcess reads a unit's main process; the zero Process if there is none.
func (r *Runner) mainProcess(ctx context.Context, unit string) (api.Process, error) {
	u, err := r.systemd.show(ctx, unit)
	if err != nil || u.mainPID == 0 {
		return api.Process{}, err
	}
	return procfs.Find(ctx, api.Selector{PID: u.mainPID})
}
