package main

import (
	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
)

// newStoreSymbols returns the command that stores uploaded symbols on the node.
func newStoreSymbols(env environment) *cobra.Command {
	var hash string
	cmd := &cobra.Command{
		Use:  "symbols",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return supervisor.StoreSymbols(env.in, hash) },
	}
	cmd.Flags().StringVar(&hash, "hash", "", "")
	return cmd
}
