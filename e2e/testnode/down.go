//go:build linux

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

func newDown(s streams, w *nodeFlags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove a node, including one that crashed",
		Long: `Down removes all processes, mounts, network devices, namespaces, cgroups and
files of a node, whether it is running, died or never came up. It keeps the cache.`,
		Example: `  testnode down
  testnode down --name second
  testnode down --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := []string{w.name}
			if all {
				var err error
				if names, err = testbed.Names(w.state); err != nil {
					return err
				}
			}
			var errs []error
			for _, name := range names {
				errs = append(errs, testbed.Down(cmd.Context(), w.state, name, s.logf))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all nodes in the state directory")
	return cmd
}
