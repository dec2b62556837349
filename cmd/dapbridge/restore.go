package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/deploy"
)

type restoreOptions struct {
	nodeFlags
	replaced string
	dryRun   bool
	output   outputFlag
}

func newRestore(env environment) *cobra.Command {
	var o restoreOptions
	cmd := withConfig(&cobra.Command{
		Use:   "restore",
		Short: "Undo everything deploy has changed on the node",
		Long: `Put back the originals of everything deployed on the node, byte for byte and with
owner, mode, time and extended attributes, remove deploy's drop-ins, and restart
whatever does not run its original. This works at whatever point a deploy was
interrupted. Finally, remove the agent from the node, with its symbols and copies.

An executable that is neither the original nor deployed by dapbridge was replaced by
somebody else, in an upgrade or by hand. Restore does not touch it unless --replaced
says what to do.`,
		Example: `  dapbridge restore
  dapbridge restore --dry-run
  dapbridge restore --replaced keep   # containerd was upgraded meanwhile: leave it`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRestore(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	for _, name := range []string{"root", "target", "pid"} {
		cmd.Flags().Lookup(name).Hidden = true // restore applies to all targets
	}
	cmd.Flags().StringVar(&o.replaced, "replaced", "", "keep or undo an executable that somebody else replaced after the deploy; `ACTION` is keep or undo")
	_ = cmd.RegisterFlagCompletionFunc("replaced", cobra.FixedCompletions([]string{api.KeepReplaced, api.UndoReplaced}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what restore would do, without changing anything")
	o.output.add(cmd)
	return cmd
}

func runRestore(cmd *cobra.Command, env environment, o restoreOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	if o.replaced != "" && o.replaced != api.KeepReplaced && o.replaced != api.UndoReplaced {
		return diag.Errorf(diag.Usage, "--replaced %s: choose %s or %s", o.replaced, api.KeepReplaced, api.UndoReplaced)
	}
	c, err := o.config(env)
	if err != nil {
		return err
	}
	r, err := deploy.Restore(cmd.Context(), c.link, api.RestoreRequest{Replaced: o.replaced, DryRun: o.dryRun}, env.swapStep)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(env.out, struct {
			*api.RestoreResult
			Done bool `json:"done"` // always: scripts may look for it
		}{r, true})
	}
	printRestored(env.out, r, o.dryRun)
	return nil
}

func printRestored(w io.Writer, result *api.RestoreResult, dryRun bool) {
	would := map[bool]string{true: "would be "}[dryRun]
	if len(result.Units) == 0 {
		fmt.Fprintln(w, "nothing was deployed on this node")
	}
	for _, r := range result.Units {
		path := diag.Escape(r.Path)
		switch {
		case r.Replaced && !r.File:
			fmt.Fprintf(w, "%s: left as it is\n", path)
		case r.File:
			fmt.Fprintf(w, "%s: the original %sput back\n", path, would)
		default:
			fmt.Fprintf(w, "%s: nothing to put back\n", path)
		}
		for _, d := range r.DropIns {
			fmt.Fprintf(w, "%s %sremoved\n", diag.Escape(d), would)
		}
		if r.Session != "" {
			fmt.Fprintf(w, "the session of %s %sended\n", diag.Escape(r.Session), would)
		}
		if len(r.Restarted) > 0 {
			fmt.Fprintf(w, "%srestarted: %s\n", would, diag.Escape(strings.Join(r.Restarted, ", ")))
		}
	}
	if result.Removed != "" {
		fmt.Fprintf(w, "%s %sremoved\n", diag.Escape(result.Removed), would)
	}
}
