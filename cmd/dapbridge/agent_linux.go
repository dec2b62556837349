package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/agent/swap"
	"github.com/dapbridge/dapbridge/internal/agent/worker"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// newAgent returns the hidden commands that run on the node.
func newAgent(env environment) *cobra.Command {
	cmd := &cobra.Command{Use: "agent", Short: "Commands that run on the node", Hidden: true}
	cmd.AddCommand(newSupervise(env), newJoin(env), newWorker(env), newStoreSymbols(env), newSwap(env), newReceive(env))
	return cmd
}

func newSupervise(env environment) *cobra.Command {
	c := supervisor.SupervisorConfig{Version: version(), In: env.in, Out: os.Stdout, Log: slog.New(slog.NewTextHandler(env.err, nil))}
	var sel api.Selector
	var daemon string // unused; other agents read it from our command line
	cmd := &cobra.Command{
		Use:  "supervise",
		Args: noArgs,
		// A daemon of another version should learn that, not that its flags are unknown.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			signal.Ignore(syscall.SIGPIPE)
			c.Selector = sel
			c.Debugger = worker.Debugger()
			c.WorkerArgv = []string{"/proc/self/exe", "agent", "worker"}
			if c.Dlv != "" {
				c.WorkerArgv = append(c.WorkerArgv, "--dlv", string(c.Dlv))
			}
			dir, err := swap.AgentDir()
			if err != nil {
				return err
			}
			c.Hold = func(ctx context.Context) (func(), error) {
				return swap.Hold(ctx, swap.Store(dir, remote.AgentDirs()))
			}
			if c.Capabilities, err = worker.Capabilities(); err != nil {
				return err
			}
			return supervisor.Supervise(cmd.Context(), c)
		},
	}
	cmd.Flags().BoolVar(&c.Errand, strings.TrimPrefix(api.ErrandFlag, "--"), false, "")
	cmd.Flags().IntVar(&c.Protocol, "protocol", 0, "")
	cmd.Flags().StringVar(&daemon, "daemon", "", "")
	cmd.Flags().DurationVar(&c.Lease, "lease", 30*time.Second, "")
	cmd.Flags().StringVar(&sel.Name, "target", "", "")
	cmd.Flags().IntVar(&sel.PID, "pid", 0, "")
	cmd.Flags().StringVar((*string)(&c.Dlv), "dlv", "", "")
	return cmd
}

func newJoin(env environment) *cobra.Command {
	var socket, token string
	cmd := &cobra.Command{
		Use:  "join",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervisor.Join(cmd.Context(), socket, token, env.in, os.Stdout)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "")
	cmd.Flags().StringVar(&token, "token", "", "")
	return cmd
}

func newStoreSymbols(env environment) *cobra.Command {
	var hash string
	cmd := &cobra.Command{
		Use:  "symbols",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return supervisor.StoreSymbols(env.in, hash) },
	}
	cmd.Flags().StringVar(&hash, "hash", "", "")
	return cmd
}

func newSwap(env environment) *cobra.Command {
	var request string
	var idleTimeout time.Duration
	cmd := &cobra.Command{
		Use:  "swap",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGPIPE) // if the host goes, the swap is still completed
			dir, err := swap.AgentDir()
			if err != nil {
				return err
			}
			return swap.RunCommand(cmd.Context(), swap.Command{
				Name: args[0], Request: request, IdleTimeout: idleTimeout,
				AgentDir: dir, Store: swap.Store(dir, remote.AgentDirs()),
				Sessions: swap.Sessions{Of: supervisor.Session, End: supervisor.LetGo},
				In:       env.in, Out: os.Stdout,
			})
		},
	}
	cmd.Flags().StringVar(&request, "request", "", "")
	cmd.Flags().DurationVar(&idleTimeout, "idle-timeout", 0, "")
	return cmd
}

// newReceive returns the command that writes a copy of a tree as the user who has
// logged in, after doing what needs root.
func newReceive(env environment) *cobra.Command {
	c := receive.Config{Now: time.Now(), In: env.in, Out: os.Stdout}
	var force bool
	cmd := &cobra.Command{
		Use:  "receive",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			signal.Ignore(syscall.SIGPIPE) // the end of the input is noticed anyway
			owner, err := receive.LoggedIn(env.getenv("SUDO_UID"))
			if err != nil {
				return err
			}
			return receive.Receive(c, owner, force)
		},
	}
	cmd.Flags().StringVar(&c.Top, "top", "", "")
	cmd.Flags().BoolVar(&c.Look, "look", false, "")
	cmd.Flags().BoolVar(&force, "force", false, "")
	return cmd
}

func newWorker(env environment) *cobra.Command {
	var delveLog, dlv string
	cmd := &cobra.Command{
		Use:  "worker",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			// Only the supervisor, or its end, ends a worker: a signal to the whole
			// session must not leave the target traced.
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
				Dlv:      supervisor.Dlv(dlv),
			})
		},
	}
	cmd.Flags().StringVar(&delveLog, "delve-log", "", "")
	cmd.Flags().StringVar(&dlv, "dlv", "", "")
	return cmd
}

func joinListener() (*net.UnixListener, error) {
	f := os.NewFile(supervisor.WorkerJoins, "joins")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return ln.(*net.UnixListener), nil
}
