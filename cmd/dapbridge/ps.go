package main

import (
	"fmt"
	"io"
	"path"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/link"
)

type psOptions struct {
	nodeFlags
	output outputFlag
}

func newPs(env environment) *cobra.Command {
	var o psOptions
	cmd := withConfig(&cobra.Command{
		Use:   "ps",
		Short: "List the Go processes on the node",
		Long: `List what can be debugged on the node: every running Go process, its systemd unit,
and how well its build suits a debugger. A stripped executable has no debug
information, which dapbridge symbols can build; in an optimised one some variables
and lines are missing.`,
		Example: "  dapbridge ps\n  dapbridge ps --node ssh://docker@127.0.0.1:32771 -o json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runPs(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	o.output.add(cmd)
	return cmd
}

func runPs(cmd *cobra.Command, env environment, o psOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	c, err := o.config(env)
	if err != nil {
		return err
	}
	list, err := link.List(cmd.Context(), c.link)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(env.out, list)
	}
	return printCandidates(env.out, list)
}

func printCandidates(out io.Writer, list []api.Candidate) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tNAME\tUNIT\tGO\tMODULE\tSYMBOLS\tOPTIMISED\tSTARTED")
	for _, c := range list {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Process.PID, diag.EscapeLine(path.Base(c.Process.Exe)), orDash(c.Process.Unit),
			diag.EscapeLine(c.Build.GoVersion), orDash(formatModule(*c.Build)), formatSymbols(*c.Build), formatOptimisation(c.Optimisation), c.Process.StartTime.Local().Format(time.DateTime))
	}
	return w.Flush()
}

func formatModule(b exe.Build) string {
	if b.ModuleVersion == "" || b.ModulePath == "" {
		return b.ModulePath
	}
	return b.ModulePath + "@" + b.ModuleVersion
}

func formatSymbols(b exe.Build) string {
	if b.Stripped {
		return "stripped"
	}
	return "yes"
}

// formatOptimisation formats how many packages are optimised, as recorded by the
// compiler.
func formatOptimisation(o *exe.Optimisation) string {
	switch {
	case o == nil || o.Packages == 0:
		return "-"
	case o.Optimised == 0:
		return "no"
	case o.Optimised == o.Packages:
		return "yes"
	}
	return fmt.Sprintf("%d of %d packages", o.Optimised, o.Packages)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return diag.EscapeLine(s)
}
