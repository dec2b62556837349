package source

import (
	"context"
	"errors"
	"path"
	"runtime"
	"sync"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/pathmap"
)

// Map says where the source of a target is on the host.
type Map struct {
	target    pathmap.Target
	inference pathmap.Inference
	own       *pathmap.Map // the user's rules, nil if there are none
	Paths     *pathmap.Map // both: the user's come first
	Fetcher   *gosource.Fetcher
}

// NodeDir returns where on the node the target's binary says that a directory of the
// host was, "" if it does not say.
func (m *Map) NodeDir(dir string) string {
	to, ok := m.Paths.ToNode(dir)
	if !ok || !path.IsAbs(to) {
		return ""
	}
	return to
}

// Map works out where the source of a target is on the host. It fails only over
// the user's own rules.
func (c Config) InferMap(t api.Target, s exe.Sources, host gosource.Source) (*Map, error) {
	m := &Map{target: newTarget(t, s), Fetcher: gosource.NewFetcher(host)}
	m.inference = pathmap.Infer(m.target, newHost(host))
	if len(c.Rules) > 0 {
		var err error
		if m.own, err = pathmap.New(c.Rules...); err != nil {
			return nil, diag.Errorf(diag.Usage, "--map: %w", err)
		}
	}
	m.Paths = m.own.Over(m.inference.Map)
	if ignoresCase(runtime.GOOS) {
		m.Paths = m.Paths.IgnoreCase(m.target.Names())
	}
	m.Paths = m.Paths.Resolve(gosource.RealPath)
	return m, nil
}

// ignoresCase reports whether file systems of an operating system do, as a rule.
func ignoresCase(goos string) bool { return goos == "windows" || goos == "darwin" }

// Problem says why the workspace's own source is not mapped, if so.
func (m *Map) Problem() string {
	if m.own != nil {
		return ""
	}
	return m.inference.Problem
}

// Missing returns the modules that the host could fetch, and why it may not fetch
// the others.
func (m *Map) ModulesToFetch() (fetchable []MissingModule, refused map[module.Version]error) {
	refused = map[module.Version]error{}
	for _, f := range m.inference.Findings {
		if !f.Missing {
			continue
		}
		v := module.Version{Path: f.Fetch.Path, Version: f.Fetch.Version}
		if err := m.Fetcher.Check(v); err != nil {
			refused[v] = err
		} else {
			fetchable = append(fetchable, MissingModule{v, f.Host})
		}
	}
	return fetchable, refused
}

// Counts returns how many source files the target has, and how many of them the
// host has.
func (m *Map) Counts() (files, here int) {
	for _, f := range m.inference.Findings {
		files += f.Files
		here += f.OnHost
	}
	for _, d := range m.inference.Unassigned {
		files += len(d.Files)
	}
	return files, here
}

// ReadHost starts to read the Go workspace around the configured root, and what the
// host's go command says, while other work is done. The function that it returns
// waits for the result.
func (c Config) ReadHost(ctx context.Context) (wait func() (gosource.Source, error)) {
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

// Mapper maps the sources of targets. It remembers what a process was compiled from,
// which does not change while it runs. Its method may be called from several
// goroutines.
type Mapper struct {
	Config

	mu         sync.Mutex
	pid        int // of the process whose sources are remembered, 0 for none
	startTicks uint64
	sources    exe.Sources
}

// Map maps the source of a target to what was found on the host, see
// [Config.ReadHost]. What cannot be read is logged: the user's own rules, and what
// else is known, hold all the same.
func (m *Mapper) MapTarget(ctx context.Context, c *link.Client, t api.Target, host func() (gosource.Source, error)) (*Map, error) {
	sources, err := m.readSources(ctx, c, t)
	if err != nil {
		m.Log.Warn("cannot read which files the target was compiled from", "reason", err)
	}
	found, err := host()
	if err = errors.Join(err, found.Problem); err != nil {
		m.Log.Warn("this machine's Go source is known only in part", "reason", err)
	}
	return m.Config.InferMap(t, sources, found)
}

func (m *Mapper) readSources(ctx context.Context, c *link.Client, t api.Target) (exe.Sources, error) {
	m.mu.Lock()
	if m.pid == t.PID && m.startTicks == t.StartTicks && t.PID != 0 {
		defer m.mu.Unlock()
		return m.sources, nil
	}
	m.mu.Unlock()
	s, err := c.Sources(ctx, t)
	if err != nil {
		return s, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pid, m.startTicks, m.sources = t.PID, t.StartTicks, s
	return s, nil
}
