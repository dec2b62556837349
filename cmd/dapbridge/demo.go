package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/demo"
)

func newDemo(env environment) *cobra.Command {
	var keep bool
	var level string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a whole session, without a node and without root",
		Long: `Demo starts a small daemon and an SSH server on this machine, debugs the one
through the other as it would debug containerd on a node, and checks each step.
It needs the Go toolchain, to build the small daemon.`,
		Example: "  dapbridge demo\n  dapbridge demo --keep    # leaves it running, to try it with your own IDE",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := env.logger(level)
			if err != nil {
				return err
			}
			serve := func(ctx context.Context, c demo.ServeConfig) (demo.Bridge, error) {
				return serveDemo(ctx, env, log, c)
			}
			return demo.Run(cmd.Context(), demo.Options{Keep: keep, Out: env.out, Log: log, Serve: serve})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the bridge up afterwards, until Ctrl-C")
	cmd.Flags().StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}
