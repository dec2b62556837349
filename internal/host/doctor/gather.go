package daemon

import (
	"context"
	"errors"
	"path"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/doctor"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
)

// Examine looks at the node, the target and this machine. With fix, it does first
// what changes nothing but dapbridge's own files: it builds a stripped target's
// symbols. The error is ctx's; everything else that fails stands in the report.
func Examine(ctx context.Context, c Config, fix bool) (doctor.Report, error) {
	f := doctor.Facts{Node: doctor.Node{Name: c.SSH.Node.Name, Local: c.SSH.Node.Local, Why: c.SSH.Node.Why}}
	f.Host.Rsync, f.Host.RsyncErr = rsync.Find(ctx)
	d, err := newDialer(ctx, c)
	if err == nil {
		err = errors.Join(d.examine(ctx, &f, fix), d.close())
	}
	if ctx.Err() != nil {
		return doctor.Report{}, ctx.Err()
	}
	f.Err = err
	return doctor.Examine(f), nil
}

// examine finds out what is asked of a node that has been reached.
func (d *dialer) examine(ctx context.Context, f *doctor.Facts, fix bool) error {
	hello := d.link.client.Hello()
	m, err := d.link.client.Machine(ctx)
	if err != nil {
		return err
	}
	f.Agent = &doctor.Agent{
		Platform: hello.OS + "/" + hello.Arch, System: m.Distribution, Kernel: m.Kernel, CgroupV2: m.CgroupV2, Obstacles: m.Obstacles,
		TracingFailure: m.NoTracing, Frozen: m.Frozen, Dir: m.Dir, Free: m.Free, Rsync: m.Rsync, Kubelet: m.Kubelet,
	}
	if d.link.conn.AsRoot(nil) != nil {
		f.Agent.Root = "sudo"
	}
	t, err := d.link.client.Target(ctx)
	if err != nil {
		f.TargetErr = err
		return nil
	}
	f.Target, f.Build = &t.Process, &t.Build
	if e := hello.TargetError; e != nil && (e.Code == diag.TargetTraced || e.Code == diag.TargetBusy) {
		f.TracerErr = e
	}
	f.GoWarning = hello.Debugger.Warning(t.Build.GoVersion)
	if o, err := d.link.client.Optimisation(ctx); err == nil {
		f.Optimisation = &o
	}
	if t.Build.Stripped && fix {
		if err := d.link.symbols(ctx, d.cfg, &SymbolsResult{Target: t}, SymbolsAuto); err != nil {
			d.cfg.Log.Warn("its symbols could not be built", "reason", err, "hint", diag.Hint(err))
		}
	}
	if t.Build.Stripped && d.cfg.Symbols.Mode != SymbolsNever {
		now, err := d.symbolsNow(ctx, t)
		if err != nil {
			return err
		}
		f.Source.Symbols = now == "kept"
	}
	return d.examineSource(ctx, t, &f.Source)
}

// examineSource looks at the target's source on both sides.
func (d *dialer) examineSource(ctx context.Context, t api.Target, s *doctor.Source) error {
	m, err := d.sourceMap(ctx, d.link, t, d.cfg.lookAround(ctx))
	if err != nil {
		return err
	}
	s.Root, s.Problem = d.cfg.Root, m.problem()
	s.Files, s.OnHost = m.counts()
	main := t.Build.MainFile
	if main == "" {
		return nil
	}
	if path.IsAbs(main) {
		_, err := d.link.client.Source(ctx, t, main)
		s.OnNode = err == nil
	}
	if host, ok := m.paths.ToHost(main); ok {
		s.Stale = d.cfg.sources(d.link, d.fetches, t).Stale(ctx, host, main)
	}
	return nil
}
