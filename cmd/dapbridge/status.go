package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
)

type statusOptions struct {
	watch  bool
	output outputFlag
}

func newStatus(env environment) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the status of running serve processes",
		Long: `Show the status of each dapbridge serve that you are running: where it listens, its
link to the node, its target, the current session, whether the target is halted and
for how long, and the progress of copying the source.

Exit status: 0 if at least one is running and all are well; 1 if none is running, or
one has a problem: the link is lost, the target is gone or has been halted for more
than two minutes, the source cannot be copied, or the process does not answer.`,
		Example: `  dapbridge status
  dapbridge status -o json
  dapbridge status --watch           # refresh every second until Ctrl-C`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd, env, o) },
	}
	cmd.Flags().BoolVar(&o.watch, "watch", false, "refresh every second until Ctrl-C")
	o.output.add(cmd)
	return cmd
}

// statusReport is what status -o json prints.
type statusReport struct {
	Daemons []serve.Daemon `json:"daemons"`
}

func runStatus(cmd *cobra.Command, env environment, o statusOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	dirs, err := env.controlDirs()
	if err != nil {
		return err
	}
	for ctx := cmd.Context(); ; {
		all, err := serve.Daemons(ctx, dirs)
		if err != nil {
			return err
		}
		if o.output == "json" {
			if err := printJSON(env.out, statusReport{append([]serve.Daemon{}, all...)}); err != nil {
				return err
			}
		} else {
			if o.watch && env.outIsTerminal() {
				fmt.Fprint(env.out, "\x1b[H\x1b[2J")
			}
			printStatus(env.out, all, time.Now())
		}
		if !o.watch {
			return checkDaemons(all)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// checkDaemons returns the exit status for the state of the daemons.
func checkDaemons(all []serve.Daemon) error {
	for _, d := range all {
		if d.Silent != nil || len(d.Trouble) > 0 {
			return exitStatus(1)
		}
	}
	if len(all) == 0 {
		return exitStatus(1)
	}
	return nil
}

func printStatus(w io.Writer, all []serve.Daemon, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no dapbridge serve is running")
	}
	for i, d := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if d.Silent != nil {
			fmt.Fprintf(w, "dapbridge serve, pid %d\n", d.PID)
			printRow(w, "problem", "%s", d.Silent.Summary)
			printRow(w, "hint", "%s", d.Silent.Hint)
			continue
		}
		printDaemon(w, d.Status, now)
	}
}

// printRow prints one row of a daemon's status, escaped: the node may have made it up.
func printRow(w io.Writer, name, format string, args ...any) {
	fmt.Fprintf(w, "  %-8s  %s\n", name, diag.EscapeLine(fmt.Sprintf(format, args...)))
}

func printDaemon(w io.Writer, s serve.Status, now time.Time) {
	fmt.Fprintf(w, "dapbridge serve, pid %d, running for %s\n", s.PID, formatAge(now, s.Since))
	printRow(w, "listen", "%s", s.Listen)
	printRow(w, "node", "%s: %s", s.Node, formatLink(s.Link, now))
	if t := s.Target; t != nil {
		printRow(w, "target", "%s", strings.TrimRight(fmt.Sprintf("%s, pid %d, %s %s", t.Name, t.PID, t.Module, t.Version), " "))
	}
	if d := s.Session; d == nil {
		printRow(w, "session", "none")
	} else {
		printRow(w, "session", "%s, %s, for %s: %s", d.Client, d.Protocol, formatAge(now, d.Since), d.State)
		if d.Process != "" {
			printRow(w, "", "%s", d.Process)
		}
		if d.Risk != "" {
			printRow(w, "", "%s", d.Risk)
		}
	}
	printRow(w, "source", "%s", s.Root)
	if c := s.Sync; c != nil {
		printSync(w, c, now)
	}
	if s.Warning != nil {
		printRow(w, "warning", "%s: %s", s.Warning.At.Local().Format(time.TimeOnly), s.Warning.Text)
	}
	for _, line := range s.Trouble {
		printRow(w, "problem", "%s", line)
	}
}

func formatLink(l serve.LinkStatus, now time.Time) string {
	text := fmt.Sprintf("%s for %s", l.State, formatAge(now, l.Since))
	if l.Milliseconds > 0 {
		text += fmt.Sprintf(", round trip %.1f ms", l.Milliseconds)
	}
	return text
}

func printSync(w io.Writer, c *srcsync.Status, now time.Time) {
	text := fmt.Sprintf("to %s: %s", c.To, c.State)
	switch {
	case c.State == srcsync.Copying && c.Total > 0:
		text += fmt.Sprintf(", %d of %d changes", c.Done, c.Total)
	case c.State == srcsync.Waiting:
		text += " for the node"
	}
	switch {
	case c.Pending < 0 && c.State != srcsync.Stopped:
		text += ", full scan pending"
	case c.Pending > 0:
		text += fmt.Sprintf(", %s pending", plural(c.Pending, "change"))
	}
	printRow(w, "sync", "%s", text)
	if l := c.Last; l != nil {
		printRow(w, "", "last %s ago: %s sent (%s), %d removed in %.2f s", formatAge(now, l.At), plural(l.Files, "file"), formatMegabytes(l.Bytes), l.Removed, l.Seconds)
		for _, f := range l.Failed {
			printRow(w, "", "%s was not copied: %s", f.Path, f.Reason)
		}
	}
}

// formatAge formats the time since then.
func formatAge(now, then time.Time) string {
	d := now.Sub(then)
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
