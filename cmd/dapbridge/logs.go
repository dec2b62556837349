package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/logs"
)

type logsOptions struct {
	nodeFlags
	follow bool
	since  string
}

func newLogs(env environment) *cobra.Command {
	var o logsOptions
	cmd := withConfig(&cobra.Command{
		Use:   "logs",
		Short: "Show the target's journal",
		Long: `Show the journal of the target's systemd unit: the last 100 lines, or everything
since a given time. For a target that is not running, its usual unit is shown. With
-f, show the last 10 lines and then new ones as they are written, until Ctrl-C.`,
		Example: `  dapbridge logs
  dapbridge logs -f --target kubelet
  dapbridge logs --since 10m
  dapbridge logs --since 2026-11-28T09:30:00Z`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLogs(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "show new lines as they are written")
	cmd.Flags().StringVar(&o.since, "since", "", "show everything since `TIME` (2026-11-28T09:30:00Z), or since that long ago (10m)")
	return cmd
}

func runLogs(cmd *cobra.Command, env environment, o logsOptions) error {
	journal := logs.Journal{Follow: o.follow}
	if err := parseSince(o.since, &journal); err != nil {
		return err
	}
	c, err := o.config(env)
	if err != nil {
		return err
	}
	r, err := journal.Write(cmd.Context(), c.link, env.out)
	if err == nil && r.Lines == 0 && !o.follow {
		fmt.Fprintf(env.err, "the node's journal has no entries for %s in that range\n", diag.Escape(r.Unit))
	}
	return err
}

// parseSince parses a duration or a time into j.
func parseSince(text string, j *logs.Journal) (err error) {
	if text == "" {
		return nil
	}
	if j.Ago, err = time.ParseDuration(text); err == nil && j.Ago >= time.Second {
		return nil
	}
	j.Ago = 0
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if j.Since, err = time.ParseInLocation(layout, text, time.Local); err == nil {
			return nil
		}
	}
	return diag.Errorf(diag.Usage, "--since %s is neither a duration of a second or more (10m) nor a time (2026-11-28T09:30:00Z, or '2026-11-28 09:30:00')", text)
}
