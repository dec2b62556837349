//go:build linux

package main

import (
	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// testUser is the uid of the unprivileged user as whom tests run dapbridge.
const testUser = 65534

func newPrepare(s streams) *cobra.Command {
	var full bool
	o := testbed.Options{Log: s.err}
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Build and download what the tests need",
		Long: `Prepare fills the caches that the tests of the first tier need, or with --all
those of both tiers. Tests do not fill them, since their duration would depend on it.`,
		Example: `  testnode prepare
  testnode prepare --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.NoKubelet = !full
			return testbed.Prepare(cmd.Context(), o, full)
		},
	}
	cmd.Flags().BoolVar(&full, "all", false, "prepare both tiers")
	cmd.Flags().IntVar(&o.Owner, "owner", testUser, "uid of the user as whom tests run dapbridge")
	return cmd
}
