package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/symbols/twin"
)

// newToolexec is what the go command runs its tools through while it builds a
// twin. People call it by what symbols --print shows.
func newToolexec(env environment) *cobra.Command {
	var rules []string
	var goroot string
	cmd := &cobra.Command{
		Use:    "toolexec [--map HOST=>BUILD]... -- TOOL ARG...",
		Short:  "Run a tool of Go's so that it makes a twin",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			status, err := twin.RunTool(args, rules, goroot, os.Environ(), env.out, env.err)
			if err == nil && status != 0 {
				os.Exit(status) // the tool has said why
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&rules, "map", nil, "a directory here and in the program, HERE=>THERE")
	cmd.Flags().StringVar(&goroot, "goroot", "", "what the program says of its GOROOT")
	return cmd
}
