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

// Map relates the source of a target to the host's files.
type Map struct {
	target    pathmap.Target
	inference pathmap.Inference
	own       *pathmap.Map // the user's rules, nil if there are none
	Paths     *pathmap.Map // the user's rules, then the inferred ones
	Fetcher   *gosource.Fetcher
}

// NodeDir returns the directory on the node that corresponds to a host directory
// according to the target's binary, "" if the binary does not say.
func (m *Map) NodeDir(dir string) string {
	to, ok := m.Paths.ToNode(dir)
	if !ok || !path.IsAbs(to) {
		return ""
	}
	return to
}

// InferMap infers the path map of a target. It fails only if the user's own rules are
// invalid.
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

// ignoresCase reports whether an operating system's file systems usually ignore case.
func ignoresCase(goos string) bool { return goos == "windows" || goos == "darwin" }

// Problem returns why the workspace's own source is not mapped, "" if it is.
func (m *Map) Problem() string {
	if m.own != nil {
		return ""
	}
	return m.inference.Problem
}

// ModulesToFetch returns the modules that the host lacks and may fetch, and for each of
// the others the reason why it must not be fetched.
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

// Counts returns the number of the target's source files, and of those that the host has.
func (m *Map) Counts() (files, onHost int) {
	for _, f := range m.inference.Findings {
		files += f.Files
		onHost += f.OnHost
	}
	for _, d := range m.inference.Unassigned {
		files += len(d.Files)
	}
	return files, onHost
}

// ReadHost starts a goroutine that reads the Go workspace around the configured root and
// the host's Go environment. wait, which must be called, blocks until that is done; it
// may be called more than once.
func (c Config) ReadHost(ctx context.Context) (wait func() (gosource.Source, error)) {
	var host gosource.Source
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		host, err = gosource.Read(ctx, c.Root)
	}()
	return func() (gosource.Source, error) {
		<-done
		return host, err
	}
}

// Mapper makes the maps of targets. It caches the list of source files of a process,
// which does not change while the process runs. Its method may be called from several
// goroutines.
type Mapper struct {
	Config

	mu         sync.Mutex
	pid        int // of the process whose sources are cached, 0 for none
	startTicks uint64
	sources    exe.Sources
}

// MapTarget infers the path map of a target. waitForHost is from [Config.ReadHost]. What
// cannot be read is only logged: the user's own rules and whatever else is known still
// apply.
func (m *Mapper) MapTarget(ctx context.Context, c *link.Client, t api.Target, waitForHost func() (gosource.Source, error)) (*Map, error) {
	sources, err := m.readSources(ctx, c, t)
	if err != nil {
		m.Log.Warn("cannot read which files the target was compiled from", "reason", err)
	}
	host, err := waitForHost()
	if err = errors.Join(err, host.Problem); err != nil {
		m.Log.Warn("this machine's Go source is known only in part", "reason", err)
	}
	return m.Config.InferMap(t, sources, host)
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
