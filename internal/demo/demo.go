// Package demo runs a complete session without a node and without root: it builds a
// sample program, starts an SSH server on the loopback interface as its node, and
// drives a debug session, checking each step. It works on Linux only.
package demo

import (
	"cmp"
	"context"
	"io"
	"log/slog"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// Options configure [Run].
type Options struct {
	Keep    bool         // keep the bridge running after the session until the context ends
	Out     io.Writer    // receives a line for each step; nil discards them
	Log     *slog.Logger // receives details; nil discards them
	Serve   ServeFunc    // starts the bridge; required
	WorkDir string       // parent of the temporary directory; "" is the system's default

	// For tests against a plain Delve, which maps no paths by itself and numbers its
	// messages out of order.
	attachArgs func(build, workspace string) map[string]any
	dial       []dapclient.Option
}

// ServeFunc starts the bridge for a node and returns once it listens. The context
// bounds only the start; the bridge runs until its Close.
type ServeFunc func(ctx context.Context, c ServeConfig) (Bridge, error)

// ServeConfig describes the demo's node to a bridge.
type ServeConfig struct {
	SSHAddr    string // host:port
	User       string
	KeyFile    string
	KnownHosts string
	AgentDirs  []string // for the agent, instead of /var/lib/dapbridge
	PID        int      // the target
	Root       string   // the workspace on the host
}

// Bridge is a running bridge.
type Bridge interface {
	Addr() string                    // the DAP address, host:port
	Close(ctx context.Context) error // ends it; the target keeps running
}

// Run runs the demo and returns an error if a step fails. Before it returns, it ends
// everything that it has started and removes its temporary directory.
func Run(ctx context.Context, o Options) error {
	o.Out = cmp.Or(o.Out, io.Discard)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return run(ctx, o)
}
