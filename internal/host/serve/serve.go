// Package daemon puts the parts of dapbridge together on the host: it reaches
// the node, has the agent attach when a session comes, and lets IDEs in
// through a bridge. It owns the goroutines of all of them.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/peer"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/pathmap"
)

// Config is everything that a command decides.
type Config struct {
	SSH         sshconn.Config       // the node, and how SSH reaches it unless it has an engine for that
	Agent       remote.AgentOptions  // where the agent's binary comes from
	Upload      remote.UploadOptions // and where it goes
	Target      api.Selector
	Dlv         string        // address on the node of a headless dlv to use, in place of a debugger of ours; "" for none
	Listen      string        // host:port of a loopback address, or unix:PATH
	Conn        net.Conn      // of the one client that is served, in place of Listen
	Lease       time.Duration // how long the agent holds the target without a word from us
	IdleTimeout time.Duration // how long the node may owe an answer that needs no debugger
	Linger      time.Duration // how long it stays attached after a session
	Takeover    bool
	Maps        []pathmap.Rule // the user's own, which come before what is worked out
	Root        string         // where the target's source is on the host
	CacheDir    string         // this user's own, for files of the node's that clients open; "" for none
	Symbols     Symbols        // for stripped targets
	Self        string         // what others who use the node are told of this daemon: process, user, machine
	Control     string         // this user's own directory, for the socket on which the daemon says how it is; "" for none
	Sync        ServeSync      // whether the tree at Root is copied to the node meanwhile
	Log         *slog.Logger

	errand bool // no session is wanted
}

// Ready is what a daemon says when IDEs may come.
type Ready struct {
	Listen string     `json:"listen"` // as an IDE writes it: host:port or unix:PATH; or stdio
	Target api.Target `json:"target"`
	Paths  []string   `json:"paths"` // HOST=NODE, the user's own first, then the main module's
	Files  int        `json:"files"` // source files that the target was compiled from
	Here   int        `json:"here"`  // those that this machine has
	// NoPaths says why the main module's paths are not mapped, if so.
	NoPaths string `json:"noPaths,omitempty"`
	// Warnings is what to expect of the target, a line each.
	Warnings []string `json:"warnings,omitempty"`
	// Symbols is "kept" or "missing" for a stripped target.
	Symbols string `json:"symbols,omitempty"`
	// SyncTo is the node's directory that the source is copied to meanwhile.
	SyncTo string `json:"syncTo,omitempty"`
}

// Serve listens, connects to the node, finds the target, and lets IDEs in until
// ctx ends; one that comes before the target is found waits. It then returns
// nil when the target is let go and the agent has left.
//
// With c.Conn it serves that client alone, to its end; one whose session can't
// begin is told why.
func Serve(ctx context.Context, c Config, ready func(Ready)) error {
	err := serve(ctx, c, ready)
	if err != nil && c.Conn != nil {
		bridge.Refuse(c.Conn, err)
	}
	return err
}

func serve(ctx context.Context, c Config, ready func(Ready)) error {
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
	c.Self += ", " + where
	m := newMonitor(&c, addr)
	defer m.open()()
	d, err := newDialer(ctx, c)
	if err != nil {
		return err
	}
	m.dialer.Store(d)
	err = d.serve(ctx, ln, addr, m, ready)
	m.sync.end()
	closeErr := d.close()
	m.sync.wait() // after the link, over which it may wait for the node
	if err == nil && closeErr != nil && !errors.Is(closeErr, &diag.Error{Code: diag.LinkLost}) {
		err = closeErr
	}
	return err
}

func (d *dialer) serve(ctx context.Context, ln net.Listener, addr string, mon *monitor, ready func(Ready)) error {
	hello := d.link.client.Hello()
	if hello.Target == nil {
		return hello.TargetError
	}
	r := Ready{Listen: addr, Target: *hello.Target}
	warnings := d.link.warnings(ctx, r.Target)
	m, err := d.sourceMap(ctx, d.link, r.Target, d.cfg.lookAround(ctx))
	if err != nil {
		return err
	}
	r.NoPaths = m.problem()
	r.Files, r.Here = m.counts()
	for _, rule := range m.paths.Rules() {
		r.Paths = append(r.Paths, rule.String())
	}
	if r.Symbols, err = d.symbolsNow(ctx, r.Target); err != nil {
		return err
	}
	r.Warnings = warnings()
	r.SyncTo = mon.beginSync(ctx, d, m)
	ready(r)
	srv := bridge.NewServer(bridge.Config{
		Dialer: d, CheckPeer: func(c net.Conn) error { return peer.Check(c) }, Takeover: d.cfg.Takeover, Log: d.cfg.Log,
	})
	mon.bridge.Store(srv)
	if ln == nil {
		srv.ServeConn(ctx, d.cfg.Conn)
		return nil
	}
	return srv.Serve(ctx, ln)
}

// List returns the Go programs that run on the node.
func List(ctx context.Context, c Config) ([]api.Candidate, error) {
	l, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.client.List(ctx)
}
