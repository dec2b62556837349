package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
)

// newReceive returns the command that writes a copy of a tree as the user who has
// logged in, after doing what needs root.
func newReceive(env environment) *cobra.Command {
	c := receive.Config{Now: time.Now(), In: env.in, Out: os.Stdout}
	var force bool
	cmd := &cobra.Command{
		Use:  "receive",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return runReceive(env, c, force) },
	}
	cmd.Flags().StringVar(&c.Top, "top", "", "")
	cmd.Flags().BoolVar(&c.ReadOnly, "read-only", false, "")
	cmd.Flags().BoolVar(&force, "force", false, "")
	return cmd
}

func runReceive(env environment, c receive.Config, force bool) error {
	signal.Ignore(syscall.SIGPIPE) // the end of the input is noticed anyway
	owner, err := receive.LookupUser(env.getenv("SUDO_UID"))
	if err != nil {
		return err
	}
	return receive.Receive(c, owner, force)
}
