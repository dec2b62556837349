package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/demo"
)

type demoOptions struct {
	keep     bool
	logLevel string
}

func newDemo(env environment) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a complete session without a node and without root",
		Long: `Start a sample program and an SSH server on this machine, debug the program through
the server just as containerd would be debugged on a node, and check each step. The
sample program is built with the Go toolchain, which must be installed.`,
		Example: "  dapbridge demo\n  dapbridge demo --keep    # leave it running, to try it with your own IDE",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, env, o) },
	}
	cmd.Flags().BoolVar(&o.keep, "keep", false, "keep serving afterwards, until Ctrl-C")
	cmd.Flags().StringVar(&o.logLevel, "log-level", "warn", "set the log `LEVEL`: debug, info, warn or error")
	return cmd
}

func runDemo(cmd *cobra.Command, env environment, o demoOptions) error {
	log, err := env.logger(o.logLevel)
	if err != nil {
		return err
	}
	serve := func(ctx context.Context, c demo.ServeConfig) (demo.Bridge, error) {
		return serveDemo(ctx, env, log, c)
	}
	return demo.Run(cmd.Context(), demo.Options{Keep: o.keep, Out: env.out, Log: log, Serve: serve})
}
