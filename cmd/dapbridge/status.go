package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/daemon"
	"github.com/dapbridge/dapbridge/internal/diag"
)

func newStatus(env environment) *cobra.Command {
	var output outputFlag
	var watch bool
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
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.check(); err != nil {
				return err
			}
			return runStatus(cmd, env, output, watch)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "refresh every second until Ctrl-C")
	output.add(cmd)
	return cmd
}

// statusReport is what status -o json prints.
type statusReport struct {
	Daemons []daemon.Daemon `json:"daemons"`
}

func runStatus(cmd *cobra.Command, env environment, output outputFlag, watch bool) error {
	dirs, err := env.controlDirs()
	if err != nil {
		return err
	}
	for ctx := cmd.Context(); ; {
		all, err := daemon.Daemons(ctx, dirs)
		if err != nil {
			return err
		}
		if output == "json" {
			if err := printJSON(env.out, statusReport{append([]daemon.Daemon{}, all...)}); err != nil {
				return err
			}
		} else {
			if watch && env.outIsTerminal() {
				fmt.Fprint(env.out, "\x1b[H\x1b[2J")
			}
			printStatus(env.out, all, time.Now())
		}
		if !watch {
			return worst(all)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// worst is the exit status for daemons.
func worst(all []daemon.Daemon) error {
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

func printStatus(w io.Writer, all []daemon.Daemon, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no dapbridge serve of yours runs here")
	}
	for i, d := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if d.Silent != nil {
			fmt.Fprintf(w, "dapbridge serve, pid %d\n", d.PID)
			row(w, "trouble", "%s", d.Silent.Summary)
			row(w, "hint", "%s", d.Silent.Hint)
			continue
		}
		printDaemon(w, d.Status, now)
	}
}

// row writes a line of a daemon's; what is in it may be the node's.
func row(w io.Writer, name, format string, args ...any) {
	fmt.Fprintf(w, "  %-8s  %s\n", name, diag.EscapeLine(fmt.Sprintf(format, args...)))
}

func printDaemon(w io.Writer, s daemon.Status, now time.Time) {
	fmt.Fprintf(w, "dapbridge serve, pid %d, for %s\n", s.PID, ago(now, s.Since))
	row(w, "listens", "%s", s.Listen)
	row(w, "node", "%s: %s", s.Node, linkText(s.Link, now))
	if t := s.Target; t != nil {
		row(w, "target", "%s", strings.TrimRight(fmt.Sprintf("%s, pid %d, %s %s", t.Name, t.PID, t.Module, t.Version), " "))
	}
	if d := s.Session; d == nil {
		row(w, "session", "none")
	} else {
		row(w, "session", "%s, %s, for %s: %s", d.Client, d.Protocol, ago(now, d.Since), d.State)
		if d.Process != "" {
			row(w, "", "%s", d.Process)
		}
		if d.Risk != "" {
			row(w, "", "%s", d.Risk)
		}
	}
	row(w, "source", "%s", s.Root)
	if c := s.Sync; c != nil {
		printCopying(w, c, now)
	}
	if s.Warning != nil {
		row(w, "warned", "%s: %s", s.Warning.At.Local().Format(time.TimeOnly), s.Warning.Text)
	}
	for _, line := range s.Trouble {
		row(w, "trouble", "%s", line)
	}
}

func linkText(l daemon.LinkStatus, now time.Time) string {
	text := fmt.Sprintf("%s for %s", l.State, ago(now, l.Since))
	if l.Milliseconds > 0 {
		text += fmt.Sprintf(", answers in %.1f ms", l.Milliseconds)
	}
	return text
}

func printCopying(w io.Writer, c *daemon.SyncStatus, now time.Time) {
	text := fmt.Sprintf("to %s: %s", c.To, c.State)
	switch {
	case c.State == daemon.SyncCopying && c.Total > 0:
		text += fmt.Sprintf(", %d of %d changes", c.Done, c.Total)
	case c.State == daemon.SyncWaiting:
		text += " for the node"
	}
	switch {
	case c.Pending < 0 && c.State != daemon.SyncStopped:
		text += ", all is to be compared"
	case c.Pending > 0:
		text += fmt.Sprintf(", %d changes wait", c.Pending)
	}
	row(w, "copied", "%s", text)
	if l := c.Last; l != nil {
		row(w, "", "last %s ago: %d files sent (%s), %d removed in %.2f s", ago(now, l.At), l.Files, megabytes(l.Bytes), l.Removed, l.Seconds)
		for _, f := range l.Failed {
			row(w, "", "%s was not copied: %s", f.Path, f.Why)
		}
	}
}

// ago is how long ago something was, for people.
func ago(now, then time.Time) string {
	d := now.Sub(then)
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
