//go:build linux

package main

import (
	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// testUser is the ordinary user that the tests run dapbridge as.
const testUser = 65534

func newPrepare(s streams) *cobra.Command {
	var full bool
	o := testbed.Options{Log: s.err}
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Build and fetch what the tests take from caches",
		Long: `Prepare builds and fetches what the tests of the first tier take from caches; with
--all, of both tiers. No test does so itself, whose time would then depend on it.`,
		Example: `  testnode prepare
  testnode prepare --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.NoKubelet = !full
			return testbed.Prepare(cmd.Context(), o, full)
		},
	}
	cmd.Flags().BoolVar(&full, "all", false, "of both tiers")
	cmd.Flags().IntVar(&o.Owner, "owner", testUser, "uid of the user of the tests")
	return cmd
}
