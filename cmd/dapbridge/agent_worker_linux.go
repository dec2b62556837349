package main

import (
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/agent/worker"
)

// newWorker returns the command that debugs the target. The supervisor starts it.
func newWorker(env environment) *cobra.Command {
	var delveLog, dlv string
	cmd := &cobra.Command{
		Use:  "worker",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return runWorker(env, delveLog, supervisor.Dlv(dlv)) },
	}
	cmd.Flags().StringVar(&delveLog, "delve-log", "", "")
	cmd.Flags().StringVar(&dlv, "dlv", "", "")
	return cmd
}

func runWorker(env environment, delveLog string, dlv supervisor.Dlv) error {
	// Only the supervisor, or its end, ends a worker: a signal to the whole session
	// must not leave the target traced.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	joins, err := joinListener()
	if err != nil {
		return err
	}
	return worker.Run(worker.Config{
		Requests: env.in,
		Answers:  os.NewFile(supervisor.WorkerAnswers, "answers"),
		Joins:    joins,
		Log:      slog.New(slog.NewTextHandler(env.err, &slog.HandlerOptions{Level: slog.LevelDebug})),
		DelveLog: delveLog,
		Dlv:      dlv,
	})
}

// joinListener returns the inherited socket on which the worker accepts sessions.
func joinListener() (*net.UnixListener, error) {
	f := os.NewFile(supervisor.WorkerJoins, "joins")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return ln.(*net.UnixListener), nil
}
