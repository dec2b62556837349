package daemon

import (
	"context"
	"errors"
	"path"
	"runtime"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/pathmap"
)

// sourceMap is where the source of a target is on the host.
type sourceMap struct {
	target    pathmap.Target
	inference pathmap.Inference
	own       *pathmap.Map // the user's rules, nil if there are none
	paths     *pathmap.Map // both: the user's come first
	fetcher   *gosource.Fetcher
}

// place returns where on the node the target's binary says that a directory of the
// host was, "" if it does not say.
func (m *sourceMap) place(dir string) string {
	to, ok := m.paths.ToNode(dir)
	if !ok || !path.IsAbs(to) {
		return ""
	}
	return to
}

// mapSource works out where the source of a target is on the host. An error is
// one of the user's own rules.
func (c Config) mapSource(t api.Target, s exe.Sources, host gosource.Source) (*sourceMap, error) {
	m := &sourceMap{target: targetFacts(t, s), fetcher: gosource.NewFetcher(host)}
	m.inference = pathmap.Infer(m.target, hostFacts(host))
	if len(c.Maps) > 0 {
		var err error
		if m.own, err = pathmap.New(c.Maps...); err != nil {
			return nil, diag.Errorf(diag.Usage, "--map: %w", err)
		}
	}
	m.paths = m.own.Over(m.inference.Map)
	if ignoresCase(runtime.GOOS) {
		m.paths = m.paths.IgnoreCase(m.target.Names())
	}
	m.paths = m.paths.Resolve(gosource.RealPath)
	return m, nil
}

// ignoresCase reports whether file systems of an operating system do, as a rule.
func ignoresCase(goos string) bool { return goos == "windows" || goos == "darwin" }

// problem says why the workspace's own source is not mapped, if so.
func (m *sourceMap) problem() string {
	if m.own != nil {
		return ""
	}
	return m.inference.Problem
}

// missing returns the modules that the host could fetch, and why it may not fetch
// the others.
func (m *sourceMap) missing() (fetchable []missing, refused map[module.Version]error) {
	refused = map[module.Version]error{}
	for _, f := range m.inference.Findings {
		if !f.Missing {
			continue
		}
		v := module.Version{Path: f.Fetch.Path, Version: f.Fetch.Version}
		if err := m.fetcher.Check(v); err != nil {
			refused[v] = err
		} else {
			fetchable = append(fetchable, missing{v, f.Host})
		}
	}
	return fetchable, refused
}

// counts returns how many source files the target has, and how many of them the
// host has.
func (m *sourceMap) counts() (files, here int) {
	for _, f := range m.inference.Findings {
		files += f.Files
		here += f.Here
	}
	for _, d := range m.inference.Elsewhere {
		files += len(d.Files)
	}
	return files, here
}

// lookAround looks for Go source around the configured root, while other work
// is done. The function that it returns waits for that.
func (c Config) lookAround(ctx context.Context) (wait func() (gosource.Source, error)) {
	var found gosource.Source
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		found, err = gosource.Read(ctx, c.Root)
	}()
	return func() (gosource.Source, error) {
		<-done
		return found, err
	}
}

// sourceMap maps the source of a target to what was found on the host. What can't
// be found out is logged: the user's own rules, and what else is known, hold all
// the same.
func (d *dialer) sourceMap(ctx context.Context, l *Link, t api.Target, found func() (gosource.Source, error)) (*sourceMap, error) {
	sources, err := d.sourcesOf(ctx, l, t)
	if err != nil {
		d.cfg.Log.Warn("it is not known which files the target was compiled from", "reason", err)
	}
	host, err := found()
	if err = errors.Join(err, host.Problem); err != nil {
		d.cfg.Log.Warn("what is known of this machine's Go source is incomplete", "reason", err)
	}
	return d.cfg.mapSource(t, sources, host)
}

// sourcesOf returns the sources of a process, which don't change while it runs.
func (d *dialer) sourcesOf(ctx context.Context, l *Link, t api.Target) (exe.Sources, error) {
	d.mu.Lock()
	if d.sources.pid == t.PID && d.sources.start == t.StartTicks && t.PID != 0 {
		defer d.mu.Unlock()
		return d.sources.Sources, nil
	}
	d.mu.Unlock()
	s, err := l.client.Sources(ctx, t)
	if err != nil {
		return s, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sources = processSources{s, t.PID, t.StartTicks}
	return s, nil
}

// processSources are the sources of one process.
type processSources struct {
	exe.Sources
	pid   int
	start uint64
}
