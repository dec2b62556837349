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

	"github.com/dapbridge/dapbridge/internal/daemon"
	"github.com/dapbridge/dapbridge/internal/diag"
)

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

type syncOptions struct {
	nodeFlags
	maps                         mapFlag
	to                           string
	force, watch, dryRun, verify bool
	output                       outputFlag
}

// configs says what is copied where.
func (o syncOptions) configs(env environment, args []string) (c daemon.Config, s daemon.SyncConfig, err error) {
	switch {
	case runtime.GOOS == "windows":
		return c, s, diag.Errorf(diag.Unsupported, "dapbridge sync does not run on Windows: files there have no modes and no links that a node would understand")
	case o.watch && (o.dryRun || o.verify) || o.dryRun && o.verify:
		return c, s, diag.Errorf(diag.Usage, "choose one of --watch, --dry-run and --verify")
	case o.force && o.to == "":
		return c, s, diag.Errorf(diag.Usage, "--force is for a directory that --to names")
	}
	if c, err = o.config(env); err != nil {
		return c, s, err
	}
	if c.Maps, err = o.maps.rules(); err != nil {
		return c, s, err
	}
	if len(args) == 1 {
		if c.Root, err = filepath.Abs(args[0]); err != nil {
			return c, s, err
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return c, s, err
	}
	return c, daemon.SyncConfig{To: o.to, Force: o.force, RecordDir: filepath.Join(stateDir(env, home), "sync"), Progress: env.syncProgress}, nil
}

func runSync(cmd *cobra.Command, env environment, o syncOptions, args []string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	c, s, err := o.configs(env, args)
	if err != nil {
		return err
	}
	if !o.verify && !o.dryRun && !o.force { // which only look, or do what a daemon does not
		if done, err := o.byDaemon(cmd.Context(), env, c, &s); done || err != nil {
			return err
		}
	}
	switch {
	case o.verify:
		return o.verifySync(cmd, env, c, s)
	case o.watch:
		first := !s.Standing
		return daemon.WatchSync(cmd.Context(), c, s, func(r daemon.SyncReport) {
			o.print(env, r, !first)
			first = false
		})
	case o.dryRun:
		r, err := daemon.PlanSync(cmd.Context(), c, s)
		if err != nil {
			return err
		}
		if o.output == "json" {
			err = printJSON(env.out, r)
		} else {
			printSyncPlan(env.out, r)
		}
		return orFailed(err, r)
	}
	r, err := daemon.Sync(cmd.Context(), c, s)
	if err != nil {
		return err
	}
	o.print(env, r, false)
	return orFailed(nil, r)
}

// byDaemon has the dapbridge serve that copies this directory already compare all,
// and go on with that if sync is to. It reports whether there is nothing left to do.
func (o syncOptions) byDaemon(ctx context.Context, env environment, c daemon.Config, s *daemon.SyncConfig) (bool, error) {
	dirs, err := env.controlDirs()
	if err != nil {
		return false, err
	}
	d, err := daemon.SyncByDaemon(ctx, dirs, c, *s)
	if err != nil || d == nil {
		return false, err
	}
	o.print(env, d.Report, false)
	if !o.watch {
		return true, orFailed(nil, d.Report)
	}
	say := func(format string, args ...any) {
		fmt.Fprintln(env.err, oneLine(fmt.Sprintf("dapbridge serve, pid %d, "+format, append([]any{d.PID}, args...)...)))
	}
	say("copies it")
	err = d.Follow(ctx, func(n daemon.SyncNext) {
		switch {
		case n.Trouble != "":
			say("copies nothing for now: %s", n.Trouble)
		case n.Report != nil:
			o.print(env, *n.Report, true)
		}
	})
	if err != nil {
		say("copies no more; sync goes on by itself")
		s.Standing, s.To = true, d.Report.To
	}
	return err == nil, nil
}

// orFailed is the error of a run that could not copy all.
func orFailed(err error, r daemon.SyncReport) error {
	switch {
	case err != nil:
		return err
	case len(r.Failed) > 0:
		return diag.Errorf(diag.SyncFailed, "%d of the files could not be copied", len(r.Failed))
	case r.Again:
		return diag.Errorf(diag.SyncFailed, "files changed again and again while they were copied").WithHint("run it again, or with --watch")
	}
	return nil
}

// print tells what a run has come to: on one line if it is one of many.
func (o syncOptions) print(env environment, r daemon.SyncReport, short bool) {
	if o.output == "json" {
		_ = printJSON(env.out, r) // to a reader who is gone
		return
	}
	line := func(format string, args ...any) { fmt.Fprintln(env.out, oneLine(fmt.Sprintf(format, args...))) }
	for _, k := range r.Kept {
		line("%s was edited on the node: that is now %s there", k.Path, k.At)
	}
	for _, f := range r.Failed {
		line("%s was not copied: %s", orDash(f.Path), f.Why)
	}
	what := fmt.Sprintf("%d files sent (%s), %d removed in %.2f s", r.Files, sizes(r), r.Removed, r.Seconds)
	if short {
		line("%s  %s", time.Now().Format(time.TimeOnly), what)
		return
	}
	line("%s is on the node as %s: %s", r.Dir, r.To, what)
	if r.NoDeltas != "" {
		line("what has changed was sent as a whole: %s", r.NoDeltas)
	}
	if r.Others > 0 {
		line("%d files or directories there are not of this copy, and were left", r.Others)
	}
	if o.watch {
		line("watching for changes: Ctrl-C ends it")
	}
}

// sizes says how much was sent, and how much need not be.
func sizes(r daemon.SyncReport) string {
	if r.Deltas == 0 {
		return megabytes(r.Bytes)
	}
	return fmt.Sprintf("%s, %s saved by deltas", megabytes(r.Bytes), megabytes(r.Saved))
}

func printSyncPlan(w io.Writer, r daemon.SyncReport) {
	for _, c := range r.Changes {
		fmt.Fprintf(w, "%-6s  %s\n", c.What, oneLine(c.Path))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(w, "failed  %s: %s\n", oneLine(f.Path), oneLine(f.Why))
	}
	fmt.Fprintf(w, "%d changes from %s to %s\n", len(r.Changes), oneLine(r.Dir), oneLine(r.To))
}

func (o syncOptions) verifySync(cmd *cobra.Command, env environment, c daemon.Config, s daemon.SyncConfig) error {
	r, err := daemon.VerifySync(cmd.Context(), c, s)
	if err != nil {
		return err
	}
	if o.output == "json" {
		if err := printJSON(env.out, r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Differ {
			fmt.Fprintf(env.out, "%s: %s\n", oneLine(d.Path), oneLine(d.Why))
		}
		fmt.Fprintf(env.out, "%d files of %s compared with %s: %d differences\n", r.Files, oneLine(r.Dir), oneLine(r.To), len(r.Differ))
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
