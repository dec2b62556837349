//go:build linux

package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

func newList(s streams, w *nodeFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the nodes",
		Example: "  testnode ls",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names, err := testbed.Names(w.state)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tADDRESS\tCONTAINERD\tUP FOR\tMINIKUBE_HOME")
			for _, name := range names {
				n, err := testbed.FindIn(w.state, name)
				if err != nil {
					fmt.Fprintf(t, "%s\t-\t-\tnot running: testnode down --name %[1]s\t-\n", name)
					continue
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, n.IP(), n.Containerd(),
					time.Since(n.Ready()).Round(time.Second), n.MinikubeHome())
			}
			return t.Flush()
		},
	}
}
