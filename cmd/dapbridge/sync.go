package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
)

type syncOptions struct {
	nodeFlags
	maps                         mapFlag
	to                           string
	force, watch, dryRun, verify bool
	output                       outputFlag
}

func newSync(env environment) *cobra.Command {
	var o syncOptions
	cmd := withConfig(&cobra.Command{
		Use:   "sync [DIR]",
		Short: "Copy the source to the node, to the path the target was built in",
		Long: `Mirror DIR, or the directory given by --root, to the node: to the path that the
target's binary was built in, or to the directory given by --to. Files that git or a
.dapbridgeignore ignores are not copied. Sync removes from the node only what it has
copied there; a file that was edited on the node is first moved to
.dapbridge-backup beside the copy, and reported. No file on the node is ever seen
half written.

If a dapbridge serve is already copying DIR (--sync), sync has it do the work and
prints the result; with --watch it shows each further run, and takes over if serve
ends.

Exit status: 1 if --verify finds a difference, 3 if some files could not be copied.`,
		Example: `  dapbridge sync
  dapbridge sync --watch             # keep copying changes until Ctrl-C
  dapbridge sync --dry-run
  dapbridge sync --verify            # compare the contents of both sides
  dapbridge sync ~/src/tool --to /home/docker/tool`,
		Args: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error { return runSync(cmd, env, o, args) },
	}, env)
	o.nodeFlags.add(cmd, env)
	o.maps.add(cmd, env)
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "copy to `DIR` on the node (default: the path the target was built in)")
	f.BoolVar(&o.force, "force", false, "with --to: copy even if the directory belongs to the system or another user, or contains other files")
	f.BoolVar(&o.watch, "watch", false, "keep copying changes until Ctrl-C")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "print what would change, without changing anything")
	f.BoolVar(&o.verify, "verify", false, "compare the contents of both sides, without changing anything")
	o.output.add(cmd)
	return cmd
}

// syncConfig returns the configuration of the copy.
func (o syncOptions) syncConfig(env environment, args []string) (c srcsync.Config, err error) {
	switch {
	case runtime.GOOS == "windows":
		return c, diag.Errorf(diag.Unsupported, "dapbridge sync does not support Windows, whose files have no modes and links for a Linux node")
	case o.watch && (o.dryRun || o.verify) || o.dryRun && o.verify:
		return c, diag.Errorf(diag.Usage, "choose one of --watch, --dry-run and --verify")
	case o.force && o.to == "":
		return c, diag.Errorf(diag.Usage, "--force needs a directory given by --to")
	}
	n, err := o.config(env)
	if err != nil {
		return c, err
	}
	if n.source.Rules, err = o.maps.rules(); err != nil {
		return c, err
	}
	if len(args) == 1 {
		if n.source.Root, err = filepath.Abs(args[0]); err != nil {
			return c, err
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return c, err
	}
	return srcsync.Config{Link: n.link, Source: n.source, To: o.to, Force: o.force, RecordDir: filepath.Join(stateDir(env, home), "sync"), Progress: env.syncProgress}, nil
}

func runSync(cmd *cobra.Command, env environment, o syncOptions, args []string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	c, err := o.syncConfig(env, args)
	if err != nil {
		return err
	}
	takenOver := false                      // from a daemon that has stopped copying
	if !o.verify && !o.dryRun && !o.force { // these only compare, or do what a daemon does not
		var done bool
		if done, takenOver, err = o.syncByDaemon(cmd.Context(), env, &c); done || err != nil {
			return err
		}
	}
	switch {
	case o.verify:
		return o.verifySync(cmd, env, c)
	case o.watch:
		return o.watchSync(cmd.Context(), env, c, takenOver)
	case o.dryRun:
		r, err := srcsync.Plan(cmd.Context(), c)
		if err != nil {
			return err
		}
		if o.output == "json" {
			err = printJSON(env.out, r)
		} else {
			printSyncPlan(env.out, r)
		}
		return checkFailed(err, r)
	}
	r, err := srcsync.Run(cmd.Context(), c)
	if err != nil {
		return err
	}
	o.print(env, r, false)
	return checkFailed(nil, r)
}

// watchSync copies until ctx ends. It prints the first run and those that did
// something.
func (o syncOptions) watchSync(ctx context.Context, env environment, c srcsync.Config, takenOver bool) error {
	to, err := c.Destination(ctx)
	if err != nil {
		return err
	}
	c.To = to
	first := !takenOver
	s := srcsync.NewSyncer(srcsync.SyncerConfig{Config: c, FailFirst: first, Notify: func(e srcsync.Event) {
		switch {
		case e.Kind == srcsync.NodeLost:
			c.Link.Log.Warn("nothing is copied until the node can be reached again", "reason", diag.Escape(e.Err.Error()), "next try in", e.RetryIn)
		case e.Kind == srcsync.RunFinished && (first || e.Report.DidSomething()):
			o.print(env, e.Report, !first)
			first = false
		}
	}})
	return s.Run(ctx)
}

// syncByDaemon has the dapbridge serve that already copies this directory do a full
// scan, and with --watch shows its further runs. It reports whether nothing is left to
// do, and whether sync takes over from a daemon that has stopped copying.
func (o syncOptions) syncByDaemon(ctx context.Context, env environment, c *srcsync.Config) (done, takenOver bool, err error) {
	dirs, err := env.controlDirs()
	if err != nil {
		return false, false, err
	}
	d, err := serve.SyncByDaemon(ctx, dirs, *c)
	if err != nil || d == nil {
		return false, false, err
	}
	o.print(env, d.Report, false)
	if !o.watch {
		return true, false, checkFailed(nil, d.Report)
	}
	say := func(format string, args ...any) {
		fmt.Fprintln(env.err, diag.EscapeLine(fmt.Sprintf("dapbridge serve (pid %d) "+format, append([]any{d.PID}, args...)...)))
	}
	say("is copying this directory")
	err = d.Follow(ctx, func(n srcsync.RunRecord) {
		switch {
		case n.Trouble != "":
			say("cannot copy at present: %s", n.Trouble)
		case n.Report != nil:
			o.print(env, *n.Report, true)
		}
	})
	if err != nil {
		say("has stopped copying; sync takes over")
		c.To = d.Report.To
	}
	return err == nil, err != nil, nil
}

// checkFailed returns err, or an error if the run could not copy everything.
func checkFailed(err error, r srcsync.Report) error {
	switch {
	case err != nil:
		return err
	case len(r.Failed) > 0:
		return diag.Errorf(diag.SyncFailed, "%s could not be copied", plural(len(r.Failed), "file"))
	case r.Incomplete:
		return diag.Errorf(diag.SyncFailed, "files kept changing while they were copied").WithHint("run dapbridge sync again, or use --watch")
	}
	return nil
}

// print prints the result of a run; short is for one of many, on one line.
func (o syncOptions) print(env environment, r srcsync.Report, short bool) {
	if o.output == "json" {
		_ = printJSON(env.out, r) // the reader may be gone
		return
	}
	line := func(format string, args ...any) { fmt.Fprintln(env.out, diag.EscapeLine(fmt.Sprintf(format, args...))) }
	for _, k := range r.Kept {
		line("%s was edited on the node: the edited file is now %s there", k.Path, k.At)
	}
	for _, f := range r.Failed {
		line("%s was not copied: %s", orDash(f.Path), f.Reason)
	}
	what := fmt.Sprintf("%s sent (%s), %d removed in %.2f s", plural(r.Files, "file"), formatSize(r), r.Removed, r.Seconds)
	if short {
		line("%s  %s", time.Now().Format(time.TimeOnly), what)
		return
	}
	line("mirrored %s to %s: %s", r.Dir, r.To, what)
	if r.NoDeltas != "" {
		line("changed files were sent whole: %s", r.NoDeltas)
	}
	if r.Others > 0 {
		line("left %s there alone that sync did not copy", plural(r.Others, "item"))
	}
	if o.watch {
		line("watching for changes; press Ctrl-C to stop")
	}
}

// formatSize formats how much was sent, and how much deltas have saved.
func formatSize(r srcsync.Report) string {
	if r.Deltas == 0 {
		return formatMegabytes(r.Bytes)
	}
	return fmt.Sprintf("%s, %s saved by deltas", formatMegabytes(r.Bytes), formatMegabytes(r.Saved))
}

func printSyncPlan(w io.Writer, r srcsync.Report) {
	for _, c := range r.Changes {
		fmt.Fprintf(w, "%-6s  %s\n", c.What, diag.EscapeLine(c.Path))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(w, "failed  %s: %s\n", diag.EscapeLine(f.Path), diag.EscapeLine(f.Reason))
	}
	fmt.Fprintf(w, "%s from %s to %s\n", plural(len(r.Changes), "change"), diag.EscapeLine(r.Dir), diag.EscapeLine(r.To))
}

func (o syncOptions) verifySync(cmd *cobra.Command, env environment, c srcsync.Config) error {
	r, err := srcsync.Verify(cmd.Context(), c)
	if err != nil {
		return err
	}
	if o.output == "json" {
		if err := printJSON(env.out, r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Differ {
			fmt.Fprintf(env.out, "%s: %s\n", diag.EscapeLine(d.Path), diag.EscapeLine(d.Reason))
		}
		fmt.Fprintf(env.out, "compared %s in %s with %s: %s\n", plural(r.Files, "file"), diag.EscapeLine(r.Dir), diag.EscapeLine(r.To), plural(len(r.Differ), "difference"))
	}
	if len(r.Differ) > 0 {
		return exitStatus(1)
	}
	return nil
}

// syncProgress shows the progress of copying.
func (env environment) syncProgress(done, total int) {
	if done == total {
		env.progress.done()
		return
	}
	env.progress.update("%d of %d changes", done, total)
}
