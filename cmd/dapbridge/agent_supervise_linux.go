package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/agent/swap"
	"github.com/dapbridge/dapbridge/internal/agent/worker"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// newSupervise returns the command behind a link: it answers the daemon's requests and
// starts the workers.
func newSupervise(env environment) *cobra.Command {
	c := supervisor.Config{Version: version(), In: env.in, Out: os.Stdout, Log: slog.New(slog.NewTextHandler(env.err, nil))}
	var sel api.Selector
	var daemon string // unused; other agents read it from our command line
	cmd := &cobra.Command{
		Use:  "supervise",
		Args: noArgs,
		// A daemon of another version should learn that, not that its flags are unknown.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Selector = sel
			return runSupervise(cmd, c)
		},
	}
	cmd.Flags().BoolVar(&c.NoSession, strings.TrimPrefix(api.NoSessionFlag, "--"), false, "")
	cmd.Flags().IntVar(&c.Protocol, "protocol", 0, "")
	cmd.Flags().StringVar(&daemon, "daemon", "", "")
	cmd.Flags().DurationVar(&c.Lease, "lease", 30*time.Second, "")
	cmd.Flags().StringVar(&sel.Name, "target", "", "")
	cmd.Flags().IntVar(&sel.PID, "pid", 0, "")
	cmd.Flags().StringVar((*string)(&c.Dlv), "dlv", "", "")
	return cmd
}

func runSupervise(cmd *cobra.Command, c supervisor.Config) (err error) {
	signal.Ignore(syscall.SIGPIPE)
	c.Debugger = worker.Debugger()
	c.WorkerArgv = []string{"/proc/self/exe", "agent", "worker"}
	if c.Dlv != "" {
		c.WorkerArgv = append(c.WorkerArgv, "--dlv", string(c.Dlv))
	}
	dir, err := swap.AgentDir()
	if err != nil {
		return err
	}
	c.PreventSwap = func(ctx context.Context) (func(), error) {
		return swap.PreventSwap(ctx, swap.Store(dir, remote.AgentDirs()))
	}
	if c.Capabilities, err = worker.Capabilities(); err != nil {
		return err
	}
	return supervisor.Supervise(cmd.Context(), c)
}
