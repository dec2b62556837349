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
		Short: "Take a node away, also one that crashed",
		Long: `Down takes away every process, mount, network device, namespace, cgroup and
file of a node, whether it runs, died, or never came up. The cache stays.`,
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
	cmd.Flags().BoolVar(&all, "all", false, "every node of the state directory")
	return cmd
}
