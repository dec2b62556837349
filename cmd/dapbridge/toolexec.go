package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/host/symbols/twin"
)

// newToolexec returns the hidden command through which the go command runs its tools
// when it builds a twin. The script of symbols --print uses it too.
func newToolexec(env environment) *cobra.Command {
	var c twin.Changes
	cmd := &cobra.Command{
		Use:    "toolexec [--map HOST=>BUILD]... -- TOOL ARG...",
		Short:  "Run a tool of the Go toolchain to build a twin",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			status, err := twin.RunTool(args, c, os.Environ(), env.out, env.err)
			if err == nil && status != 0 {
				os.Exit(status) // the tool has printed its error
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&c.Rules, "map", nil, "`HOST=>BUILD`: a directory on this machine, and its name in the twin")
	cmd.Flags().StringVar(&c.GOROOT, "goroot", "", "the GOROOT that the twin records")
	cmd.Flags().StringVar(&c.Stamp.Version, "version", "", "the version of the main module that the twin records")
	cmd.Flags().StringVar(&c.Stamp.Sum, "sum", "", "the checksum of the main module that the twin records")
	cmd.Flags().StringArrayVar(&c.Stamp.Settings, "setting", nil, "`KEY=VALUE`: a build setting that the twin records")
	cmd.Flags().BoolVar(&c.Relocations, "relocations", false, "have an external linker keep its relocations")
	return cmd
}
