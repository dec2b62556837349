// Package serve is the daemon: it holds the link to the agent, lets IDEs in through a
// bridge, has the agent attach when a session starts, and answers other commands of
// this user's on its control socket. It owns the goroutines of all of them.
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

// Config says what to serve, and to whom.
type Config struct {
	Link     link.Config
	Source   source.Config
	Symbols  symbols.Config // for stripped targets
	Sync     SyncConfig
	Listen   string        // host:port of a loopback address, or unix:PATH
	Conn     net.Conn      // of the one client to serve, in place of Listen
	Linger   time.Duration // how long the debugger stays attached after a session
	Takeover bool          // a second client ends the first one's session
	Control  string        // this user's own directory for the control socket; "" for none
}

// SyncConfig says whether the tree at Config.Source.Root is copied to the node
// meanwhile.
type SyncConfig struct {
	Mode      srcsync.Mode
	RecordDir string // see [srcsync.Config]
}

// Ready is what a daemon reports when IDEs may connect.
type Ready struct {
	Listen string     `json:"listen"` // as an IDE writes it: host:port or unix:PATH; or stdio
	Target api.Target `json:"target"`
	Paths  []string   `json:"paths"` // HOST=NODE, the user's own first, then the main module's
	Files  int        `json:"files"` // source files that the target was compiled from
	OnHost int        `json:"here"`  // those that this machine has
	// NoPaths says why the main module's paths are not mapped, if so.
	NoPaths string `json:"noPaths,omitempty"`
	// Warnings say what to expect of the target, a line each.
	Warnings []string `json:"warnings,omitempty"`
	// Symbols is "kept" or "missing" for a stripped target.
	Symbols string `json:"symbols,omitempty"`
	// SyncTo is the node's directory that the source is copied to meanwhile.
	SyncTo string `json:"syncTo,omitempty"`
}

// Run listens, connects to the node, finds the target, calls ready, and lets IDEs in
// until ctx ends; one that connects before the target is found waits. It then returns
// nil when the target has been released and the agent has left.
//
// With c.Conn it serves that client alone, to its end; one whose session cannot start
// is told why.
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
	m.waitForSync() // after the link, on which it may wait for the node
	if err == nil && closeErr != nil && !errors.Is(closeErr, &diag.Error{Code: diag.LinkLost}) {
		err = closeErr
	}
	return err
}

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

// optimisedNote is what a user should know of a program without -N -l.
const optimisedNote = "this program was built for speed: variables may be missing or stale, and steps may jump between lines; " +
	"a build with -gcflags 'all=-N -l' has neither: dapbridge deploy runs one in its place"

// startWarnings starts to find out what to expect of the target in a session, and
// returns the function that waits for it. What cannot be found out is left out.
func startWarnings(ctx context.Context, l *link.Link, t api.Target) func() []string {
	found := make(chan []string, 1)
	l.Go(func() {
		var lines []string
		if w := l.Hello().Debugger.Warning(t.Build.GoVersion); w != "" {
			lines = append(lines, w)
		}
		if !t.Build.Stripped { // a session with a stripped target always says so
			if o, err := l.Optimisation(ctx); err == nil && isMostlyOptimised(o) {
				lines = append(lines, optimisedNote)
			}
		}
		found <- lines
	})
	return func() []string { return <-found }
}

// isMostlyOptimised is true for what go build makes. containerd's own debug build
// leaves only its main package optimised, where nobody steps.
func isMostlyOptimised(o exe.Optimisation) bool { return 2*o.Optimised > o.Packages }
