package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/agent/swap"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// newSwap returns the command that inspects, deploys and restores.
func newSwap(env environment) *cobra.Command {
	c := swap.Command{In: env.in, Out: os.Stdout}
	cmd := &cobra.Command{
		Use:  "swap",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Name = args[0]
			return runSwap(cmd, c)
		},
	}
	cmd.Flags().StringVar(&c.Request, "request", "", "")
	cmd.Flags().DurationVar(&c.IdleTimeout, "idle-timeout", 0, "")
	return cmd
}

func runSwap(cmd *cobra.Command, c swap.Command) error {
	signal.Ignore(syscall.SIGPIPE) // if the host disconnects, the swap is still completed
	dir, err := swap.AgentDir()
	if err != nil {
		return err
	}
	c.AgentDir, c.Store = dir, swap.Store(dir, remote.AgentDirs())
	c.Sessions = swap.Sessions{Find: supervisor.FindSession, End: supervisor.ReleaseTarget}
	return swap.RunCommand(cmd.Context(), c)
}
