package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
)

// newJoin returns the command that hands its standard input and output to the worker as
// a session's stream.
func newJoin(env environment) *cobra.Command {
	var socket, token string
	cmd := &cobra.Command{
		Use:  "join",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervisor.Join(cmd.Context(), socket, token, env.in, os.Stdout)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "")
	cmd.Flags().StringVar(&token, "token", "", "")
	return cmd
}
