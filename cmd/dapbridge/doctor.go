package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/doctor"
)

type doctorOptions struct {
	nodeFlags
	fix    bool
	output outputFlag
}

func newDoctor(env environment) *cobra.Command {
	var o doctorOptions
	cmd := withConfig(&cobra.Command{
		Use:   "doctor",
		Short: "Find out what prevents debugging, and how to fix it",
		Long: `Check everything a session depends on, from the node's address to the source on this
machine, and report what was found; for each problem, why it matters and how to fix
it. Doctor changes nothing on the node. With --fix it builds the symbols of a
stripped target, which leaves the node's own files alone too.

Exit status: 0 if there is no problem, 1 for a warning, 2 for an error.`,
		Example: `  dapbridge doctor
  dapbridge doctor --node minikube:dev --root ~/src/containerd
  dapbridge doctor -o json | jq '.checks[] | select(.status != "ok")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	cmd.Flags().BoolVar(&o.fix, "fix", false, "fix what can be fixed safely: build the symbols of a stripped target")
	o.output.add(cmd)
	return cmd
}

func runDoctor(cmd *cobra.Command, env environment, o doctorOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	report, err := examine(cmd, env, o)
	if err != nil {
		return err
	}
	if o.output == "json" {
		err = printJSON(env.out, report)
	} else {
		err = printReport(env.out, report)
	}
	if err != nil {
		return err
	}
	if status := exitStatus(report.ExitStatus()); status != 0 {
		return status
	}
	return nil
}

// examine returns the report. A node that does not exist or is not local is a report
// too, not an error.
func examine(cmd *cobra.Command, env environment, o doctorOptions) (doctor.Report, error) {
	c, err := o.config(env)
	switch diag.CodeOf(err) {
	case diag.NodeUnknown, diag.NodeNotLocal:
		return doctor.Examine(doctor.Facts{Err: err}), nil
	}
	if err != nil {
		return doctor.Report{}, err
	}
	return doctor.Run(cmd.Context(), doctor.Config{Link: c.link, Source: c.source, Symbols: c.symbols, Fix: o.fix})
}

// printReport prints a line for each check and, if it is not OK, why it matters and
// what to do. Skipped checks share one line.
func printReport(out io.Writer, r doctor.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var skipped []string
	for _, c := range r.Checks {
		if c.Status == doctor.Skipped {
			skipped = append(skipped, c.Name)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Status, c.Name, diag.EscapeLine(c.Found))
		if c.Why != "" {
			fmt.Fprintf(w, "\t\twhy: %s\n", diag.EscapeLine(c.Why))
		}
		if c.Remedy != "" {
			fmt.Fprintf(w, "\t\tremedy: %s\n", diag.EscapeLine(c.Remedy))
		}
	}
	if err := w.Flush(); err != nil || len(skipped) == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "skipped: %s\n", strings.Join(skipped, ", "))
	return err
}
