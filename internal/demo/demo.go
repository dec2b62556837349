// Package demo shows the bridge at work without a node and without root: it
// builds a small daemon, puts an SSH server of its own on the loopback in front
// of it, and drives a debug session whose every step it checks. Linux only.
package demo

import (
	"cmp"
	"context"
	"io"
	"log/slog"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// Options are what the command hands in.
type Options struct {
	Keep    bool         // leave the bridge up after the session until the context ends
	Out     io.Writer    // the steps; nil for none
	Log     *slog.Logger // details; nil for none
	Serve   ServeFunc    // starts the bridge; required
	WorkDir string       // where the temporary directory is made; "" for the system's

	// For tests against a plain Delve, which maps nothing by itself and numbers
	// its messages out of order.
	attachArgs func(build, workspace string) map[string]any
	dial       []dapclient.Option
}

// ServeFunc starts the bridge against a node and returns when it listens. The
// context bounds the start; the bridge is there until its Close.
type ServeFunc func(ctx context.Context, c ServeConfig) (Bridge, error)

// ServeConfig is the demo's node as a bridge must see it.
type ServeConfig struct {
	SSHAddr    string // host:port
	User       string
	KeyFile    string
	KnownHosts string
	AgentDirs  []string // where the agent may be installed, instead of /var/lib/dapbridge
	PID        int      // the target
	Root       string   // the workspace on the host
}

// Bridge is a running bridge.
type Bridge interface {
	Addr() string                    // the DAP address, host:port
	Close(ctx context.Context) error // ends it; the target lives on
}

// Run runs the demo and returns an error when one of its steps did not hold.
// When it returns, all that it started is gone, the temporary directory included.
func Run(ctx context.Context, o Options) error {
	o.Out = cmp.Or(o.Out, io.Discard)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return run(ctx, o)
}
