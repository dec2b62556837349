package doctor

import (
	"context"
	"errors"
	"path"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
)

// Config configures [Run].
type Config struct {
	Link    link.Config
	Source  source.Config
	Symbols symbols.Config
	Fix     bool // first build a stripped target's symbols, which changes only dapbridge's own files
}

// Run gathers facts about the node, the target and the host, and judges them. It returns
// an error only if ctx ends; anything else that fails is in the report.
func Run(ctx context.Context, c Config) (Report, error) {
	f := Facts{Node: Node{Name: c.Link.SSH.Node.Name, Local: c.Link.SSH.Node.Local, Why: c.Link.SSH.Node.Why}}
	f.Host.Rsync, f.Host.RsyncErr = rsync.Find(ctx)
	l, err := link.Dial(ctx, c.Link)
	if err == nil {
		err = errors.Join(c.gather(ctx, l, &f), l.Close())
	}
	if ctx.Err() != nil {
		return Report{}, ctx.Err()
	}
	f.Err = err
	return Examine(f), nil
}

// gather collects the facts that need a connection to the node.
func (c Config) gather(ctx context.Context, l *link.Link, f *Facts) error {
	hello := l.Hello()
	m, err := l.Machine(ctx)
	if err != nil {
		return err
	}
	f.Agent = &Agent{
		Platform: hello.OS + "/" + hello.Arch, System: m.Distribution, Kernel: m.Kernel, CgroupV2: m.CgroupV2, Obstacles: m.Obstacles,
		TracingFailure: m.NoTracing, Frozen: m.Frozen, Dir: m.Dir, Free: m.Free, Rsync: m.Rsync, Kubelet: m.Kubelet,
	}
	if l.Conn.AsRoot(nil) != nil {
		f.Agent.Root = "sudo"
	}
	t, err := l.Target(ctx)
	if err != nil {
		f.TargetErr = err
		return nil
	}
	f.Target, f.Build = &t.Process, &t.Build
	if e := hello.TargetError; e != nil && (e.Code == diag.TargetTraced || e.Code == diag.TargetBusy) {
		f.TracerErr = e
	}
	f.GoWarning = hello.Debugger.Warning(t.Build.GoVersion)
	if o, err := l.Optimisation(ctx); err == nil {
		f.Optimisation = &o
	}
	if t.Build.Stripped {
		if err := c.gatherSymbols(ctx, l, t, f); err != nil {
			return err
		}
	}
	return c.gatherSource(ctx, l, t, &f.Source)
}

// gatherSymbols builds a stripped target's symbols if c.Fix is set, and finds out whether
// the host has them.
func (c Config) gatherSymbols(ctx context.Context, l *link.Link, t api.Target, f *Facts) (err error) {
	if c.Fix {
		build := c.Symbols
		build.Mode = symbols.Auto
		if err := build.Provide(ctx, l, &symbols.Result{Target: t}); err != nil {
			c.Link.Log.Warn("cannot build the target's symbols", "reason", err, "hint", diag.Hint(err))
		}
	}
	f.Source.Command = c.Symbols.Command
	if c.Symbols.Mode != symbols.Never && c.Link.Dlv == "" { // a running dlv has its own
		f.Source.Symbols, err = c.Symbols.AreKept(ctx, l)
	}
	return err
}

// gatherSource finds out where the target's source is, on host and node.
func (c Config) gatherSource(ctx context.Context, l *link.Link, t api.Target, s *Source) error {
	m, err := (&source.Mapper{Config: c.Source}).MapTarget(ctx, l.Client, t, c.Source.ReadHost(ctx))
	if err != nil {
		return err
	}
	s.Root, s.Problem = c.Source.Root, m.Problem()
	s.Files, s.OnHost = m.Counts()
	main := t.Build.MainFile
	if main == "" {
		return nil
	}
	if path.IsAbs(main) {
		_, err := l.Source(ctx, t, main)
		s.OnNode = err == nil
	}
	if host, ok := m.Paths.ToHost(main); ok {
		downloads := source.NewDownloads()
		defer downloads.Close()
		s.Stale = c.Source.NewFiles(l.Client, downloads, t).CheckStale(ctx, host, main)
	}
	return nil
}
