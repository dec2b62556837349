//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

func newPod(s streams, w *nodeFlags) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "pod NAME",
		Short: "Run a pod, wait for it and print how long it took",
		Example: `  testnode pod hello
  testnode pod --rm hello`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := testbed.FindIn(w.state, w.name)
			if err != nil {
				return err
			}
			start, act, state := time.Now(), n.RunPod, "is running"
			if remove {
				act, state = n.RemovePod, "is removed"
			}
			slow := time.AfterFunc(time.Second, func() { s.logf("waiting until pod %s %s ...", args[0], state) })
			defer slow.Stop()
			if err := act(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "pod %s %s after %.2f s\n", args[0], state, time.Since(start).Seconds())
			return err
		},
	}
	cmd.Flags().BoolVar(&remove, "rm", false, "remove the pod instead, and wait until it has ended")
	return cmd
}
