package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
)

type serveOptions struct {
	nodeFlags
	listen   string
	stdio    bool
	lease    time.Duration
	linger   time.Duration
	takeover bool
	maps     mapFlag
	symbols  string
	sync     string
	dlvAddr  string
	output   outputFlag
}

func newServe(env environment) *cobra.Command {
	var o serveOptions
	cmd := withConfig(&cobra.Command{
		Use:   "serve",
		Short: "Let an IDE debug a process on the node",
		Long: `Connect to the node, find the target, and listen for the IDE. The debugger attaches
when the IDE starts a session and detaches when the session ends, however it ends;
the target keeps running. Press Ctrl-C to stop serving.

If dapbridge sync has copied this source to this node before, serve keeps the copy
up to date: each change reaches the node within moments (--sync). A failed copy
never stops serve.`,
		Example: `  dapbridge serve                                    # containerd in minikube, source in this directory
  dapbridge serve --root ~/src/containerd
  dapbridge serve --target kubelet --root ~/src/kubernetes
  dapbridge serve --node ssh://root@127.0.0.1:2222 --identity key --pid 4711
  dapbridge serve --stdio                            # for an IDE that starts its debug adapter itself
  dapbridge serve --sync on                          # also keep a copy of the source on the node
  dapbridge serve --symbols auto                     # build the symbols of a stripped target if needed
  dapbridge serve --map ~/src/containerd=/go/src/github.com/containerd/containerd`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	textFlag(cmd, env, &o.listen, "listen")
	cmd.Flags().BoolVar(&o.stdio, "stdio", false, "serve one IDE on standard input and output instead of an address, and exit with it")
	durationFlag(cmd, env, &o.lease, "lease")
	durationFlag(cmd, env, &o.linger, "linger")
	switchFlag(cmd, env, &o.takeover, "takeover")
	cmd.Flags().StringVar(&o.dlvAddr, "dlv-addr", "", "debug with the headless dlv that listens at `ADDRESS` on the node, a loopback HOST:PORT or unix:PATH, and leave it running")
	o.maps.add(cmd, env)
	textFlag(cmd, env, &o.symbols, "symbols")
	textFlag(cmd, env, &o.sync, "sync")
	o.output.add(cmd)
	return cmd
}

func runServe(cmd *cobra.Command, env environment, o serveOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	if o.dlvAddr != "" && cmd.Flags().Changed("linger") {
		return diag.Errorf(diag.Usage, "--linger does not apply to --dlv-addr: that dlv stays attached anyway")
	}
	if o.stdio && (cmd.Flags().Changed("listen") || cmd.Flags().Changed("takeover") || o.output != "text") {
		return diag.Errorf(diag.Usage, "--stdio serves only the IDE that started it, on standard input and output: it excludes --listen, --takeover and -o")
	}
	n, err := o.config(env)
	if err != nil {
		return err
	}
	n.symbols.Mode = o.symbols
	if n.link.Dlv = o.dlvAddr; n.link.Dlv != "" && !cmd.Flags().Changed("target") {
		n.link.Target.Name = "" // whatever that dlv debugs
	}
	if n.source.Rules, err = o.maps.rules(); err != nil {
		return err
	}
	n.link.Lease = o.lease
	c := serve.Config{Link: n.link, Source: n.source, Symbols: n.symbols, Listen: o.listen, Linger: o.linger, Takeover: o.takeover}
	if c.Control, err = env.controlDir(); err != nil {
		return err
	}
	if c.Sync, err = serveSync(env, o.sync); err != nil {
		return err
	}
	if o.stdio {
		conn, flush := env.stdio()
		defer flush()
		c.Conn, env.out = conn, env.err // standard output is the IDE's
	}
	return serve.Run(cmd.Context(), c, func(r serve.Ready) {
		if o.output == "json" {
			printJSON(env.out, r)
			return
		}
		printReady(env.out, c, r)
	})
}

// serveSync returns the daemon's configuration for copying the source.
func serveSync(env environment, mode string) (serve.SyncConfig, error) {
	home, err := os.UserHomeDir()
	return serve.SyncConfig{Mode: srcsync.Mode(mode), RecordDir: filepath.Join(stateDir(env, home), "sync")}, err
}

func printReady(w io.Writer, c serve.Config, r serve.Ready) {
	t, nodeName := r.Target, c.Link.SSH.Node.Name
	fmt.Fprintf(w, "debugging %s on %s: pid %d, %s, %s\n", diag.EscapeLine(path.Base(t.Exe)), nodeName, t.PID, orDash(t.Build.ModulePath), diag.EscapeLine(t.Build.GoVersion))
	if r.NoPaths == "" && len(r.Paths) > 0 {
		fmt.Fprintf(w, "paths: %s\n", diag.EscapeLine(r.Paths[0]))
	}
	fmt.Fprintf(w, "source: %d of %d files are on this machine (dapbridge paths shows where)\n", r.OnHost, r.Files)
	if r.NoPaths != "" {
		fmt.Fprintf(w, "paths: the main module is not mapped: %s\n  name its source directory with --root DIR, or map it with --map HOST=NODE\n", diag.Escape(r.NoPaths))
	}
	switch {
	case r.Symbols == "kept":
		fmt.Fprintln(w, "symbols: the target is stripped; using the symbols built for it")
	case r.Symbols == "missing" && c.Symbols.Mode == symbols.Auto:
		fmt.Fprintln(w, "symbols: the target is stripped; the first session builds its symbols, which takes minutes")
	case r.Symbols == "missing" && c.Symbols.Mode == symbols.Refuse:
		fmt.Fprintf(w, "symbols: the target is stripped; build its symbols first: %s\n", c.Symbols.Command)
	case r.Symbols == "missing":
		fmt.Fprintf(w, "symbols: the target is stripped, so sessions have no variables; to have them, run: %s\n", c.Symbols.Command)
	case r.Symbols == "unused":
		fmt.Fprintln(w, "symbols: the target is stripped, so sessions have no variables; its symbols are not to be used (never)")
	}
	if r.SyncTo != "" {
		fmt.Fprintf(w, "sync: copying each change of the source to %s on the node (dapbridge status shows the progress)\n", diag.EscapeLine(r.SyncTo))
	}
	if c.Link.Dlv != "" {
		fmt.Fprintf(w, "debugger: the dlv at %s on the node, which keeps running; after a session, %s continues under it\n", c.Link.Dlv, path.Base(t.Exe))
	}
	for _, line := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", diag.EscapeLine(line))
	}
	if r.Listen == "stdio" {
		return
	}
	fmt.Fprintf(w, "listening on %s: start debugging in the IDE (dapbridge init vscode or goland writes its configuration)\n", r.Listen)
}
