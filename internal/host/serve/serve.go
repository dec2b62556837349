// Package serve implements the daemon behind dapbridge serve. It keeps the link to the
// agent, accepts IDEs through a bridge, has the agent attach when a session starts, and
// answers the user's other commands on a control socket. It owns all their goroutines.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/peer"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
)

// Config configures [Run].
type Config struct {
	Link     link.Config
	Source   source.Config
	Symbols  symbols.Config // for stripped targets
	Sync     SyncConfig
	Listen   string        // host:port of a loopback address, or unix:PATH
	Conn     net.Conn      // of the only client to serve, instead of Listen
	Linger   time.Duration // how long the debugger stays attached after a session
	Takeover bool          // a new client takes over the session of another
	Control  string        // directory of the control socket, private to the user; "" for none
}

// SyncConfig says whether the daemon copies the tree at Config.Source.Root to the node.
type SyncConfig struct {
	Mode      srcsync.Mode
	RecordDir string // see [srcsync.Config]
}

// Ready describes a daemon to which IDEs may connect.
type Ready struct {
	Listen string     `json:"listen"` // in the form that IDEs expect: host:port or unix:PATH; or stdio
	Target api.Target `json:"target"`
	Paths  []string   `json:"paths"` // HOST=NODE, the user's own first, then the main module's
	Files  int        `json:"files"` // source files that the target was compiled from
	OnHost int        `json:"here"`  // those that the host has
	// NoPaths says why the main module's paths are not mapped, if so.
	NoPaths string `json:"noPaths,omitempty"`
	// Warnings say what to expect when debugging the target, one line each.
	Warnings []string `json:"warnings,omitempty"`
	// Symbols is "kept", "missing" or "unused" for a stripped target.
	Symbols string `json:"symbols,omitempty"`
	// SyncTo is the directory on the node that the source is copied to.
	SyncTo string `json:"syncTo,omitempty"`
}

// Run listens, connects to the node, finds the target, calls ready, and accepts IDEs until
// ctx ends. An IDE that connects earlier waits. Run returns nil once the target has been
// released and the agent has exited.
//
// With c.Conn, Run serves only that client, and returns when it disconnects. If the
// session cannot start, the client gets the error.
func Run(ctx context.Context, c Config, ready func(Ready)) error {
	err := run(ctx, c, ready)
	if err != nil && c.Conn != nil {
		bridge.Refuse(c.Conn, err)
	}
	return err
}

func run(ctx context.Context, c Config, ready func(Ready)) error {
	var ln net.Listener
	addr, where := "stdio", "started by an IDE"
	if c.Conn == nil {
		var err error
		if ln, addr, err = listen(c.Listen); err != nil {
			return err
		}
		defer ln.Close()
		where = "listening on " + addr
	}
	c.Link.Self += ", " + where
	m := newMonitor(&c, addr)
	defer m.serveControl()()
	d, err := newDialer(ctx, c)
	if err != nil {
		return err
	}
	m.dialer.Store(d)
	err = d.serve(ctx, ln, addr, m, ready)
	m.stopSync()
	closeErr := d.close()
	m.waitForSync() // after closing the link, on which the sync may be blocked
	if err == nil && closeErr != nil && !errors.Is(closeErr, &diag.Error{Code: diag.LinkLost}) {
		err = closeErr
	}
	return err
}

// serve finds the target, calls ready, and accepts IDEs until ctx ends.
func (d *dialer) serve(ctx context.Context, ln net.Listener, addr string, mon *monitor, ready func(Ready)) error {
	hello := d.link.Hello()
	if hello.Target == nil {
		return hello.TargetError
	}
	r := Ready{Listen: addr, Target: *hello.Target}
	warnings := startWarnings(ctx, d.link, r.Target)
	m, err := d.mapper.MapTarget(ctx, d.link.Client, r.Target, d.cfg.Source.ReadHost(ctx))
	if err != nil {
		return err
	}
	r.NoPaths = m.Problem()
	r.Files, r.OnHost = m.Counts()
	for _, rule := range m.Paths.Rules() {
		r.Paths = append(r.Paths, rule.String())
	}
	if r.Symbols, err = d.findSymbols(ctx, r.Target); err != nil {
		return err
	}
	r.Warnings = warnings()
	r.SyncTo = mon.startSync(ctx, d, m)
	ready(r)
	srv := bridge.NewServer(bridge.Config{
		Dialer: d, CheckPeer: func(c net.Conn) error { return peer.Check(c) }, Takeover: d.cfg.Takeover, Log: d.log(),
	})
	mon.bridge.Store(srv)
	if ln == nil {
		srv.ServeConn(ctx, d.cfg.Conn)
		return nil
	}
	return srv.Serve(ctx, ln)
}

func (d *dialer) log() *slog.Logger { return d.cfg.Link.Log }

// optimisedNote tells the user what to expect of a program that was built without -N -l.
const optimisedNote = "this program was built for speed: variables may be missing or stale, and steps may jump between lines; " +
	"a build with -gcflags 'all=-N -l' has neither: dapbridge deploy runs one in its place"

// startWarnings starts to collect warnings about debugging the target, and returns a
// function that waits for them. It omits what it cannot find out.
func startWarnings(ctx context.Context, l *link.Link, t api.Target) func() []string {
	found := make(chan []string, 1)
	l.Go(func() {
		var lines []string
		if w := l.Hello().Debugger.Warning(t.Build.GoVersion); w != "" {
			lines = append(lines, w)
		}
		if !t.Build.Stripped { // every session with a stripped target is told already
			if o, err := l.Optimisation(ctx); err == nil && isMostlyOptimised(o) {
				lines = append(lines, optimisedNote)
			}
		}
		found <- lines
	})
	return func() []string { return <-found }
}

// isMostlyOptimised reports whether most packages are optimised, as by go build. In
// containerd's own debug build only the main package is.
func isMostlyOptimised(o exe.Optimisation) bool { return 2*o.Optimised > o.Packages }
