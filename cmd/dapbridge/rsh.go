package main

import (
	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
)

// newRsh is what rsync runs as its remote shell while files are copied. People
// don't call it.
func newRsh(env environment) *cobra.Command {
	return &cobra.Command{
		Use:                "rsh HOST rsync --server ARG...",
		Short:              "Connect rsync with the rsync on the node",
		Hidden:             true,
		DisableFlagParsing: true, // all words are rsync's
		RunE: func(cmd *cobra.Command, args []string) error {
			return rsync.Shell(cmd.Context(), args, env.in, env.out)
		},
	}
}
