package main

import (
	"github.com/spf13/cobra"
)

// newAgent returns the hidden commands that run on the node.
func newAgent(env environment) *cobra.Command {
	cmd := &cobra.Command{Use: "agent", Short: "Commands that run on the node", Hidden: true}
	cmd.AddCommand(newSupervise(env), newJoin(env), newWorker(env), newStoreSymbols(env), newSwap(env), newReceive(env))
	return cmd
}
