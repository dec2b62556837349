package main

import (
	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
)

// newRsh returns the hidden command that rsync runs as its remote shell.
func newRsh(env environment) *cobra.Command {
	return &cobra.Command{
		Use:                "rsh HOST rsync --server ARG...",
		Short:              "Connect rsync to the rsync on the node",
		Hidden:             true,
		DisableFlagParsing: true, // all arguments are rsync's
		RunE: func(cmd *cobra.Command, args []string) error {
			return rsync.RunShell(cmd.Context(), args, env.in, env.out)
		},
	}
}
