//go:build linux

package supervisor_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/agent/worker"
)

// Like the program on a node, the test binary is the agent too: called with "agent …"
// it runs a supervisor, a worker or a join.

// asAgent returns the agent's subcommand, "" to run the tests.
func asAgent() string {
	if len(os.Args) > 2 && os.Args[1] == "agent" {
		return os.Args[2]
	}
	return ""
}

// A worker's main goroutine must stay on the main thread; see worker.Run.
func init() {
	if asAgent() == "worker" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	switch asAgent() {
	case "supervise":
		os.Exit(status(supervise(os.Args[3:])))
	case "join":
		os.Exit(status(join(os.Args[3:])))
	case "worker":
		os.Exit(status(work()))
	}
	result := m.Run()
	if program.dir != "" {
		os.RemoveAll(program.dir)
	}
	if result == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			result = 1
		}
	}
	os.Exit(result)
}

func status(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// workerArgv returns the command that starts a worker.
func workerArgv() []string { return []string{"/proc/self/exe", "agent", "worker"} }

func supervise(args []string) (err error) {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := supervisor.Config{
		Version: "test",
		In:      os.Stdin, Out: os.Stdout, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	flags.IntVar(&c.Protocol, "protocol", 0, "")
	flags.String("daemon", "", "")
	flags.DurationVar(&c.Lease, "lease", 30*time.Second, "")
	flags.StringVar(&c.Selector.Name, "target", "", "")
	flags.IntVar(&c.Selector.PID, "pid", 0, "")
	flags.StringVar((*string)(&c.Dlv), "dlv", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c.Debugger = worker.Debugger()
	if c.WorkerArgv = workerArgv(); c.Dlv != "" {
		c.WorkerArgv = append(c.WorkerArgv, string(c.Dlv))
	}
	if c.Capabilities, err = worker.Capabilities(); err != nil {
		return err
	}
	return supervisor.Supervise(ctx, c)
}

func join(args []string) error {
	var socket, token string
	flags := flag.NewFlagSet("join", flag.ContinueOnError)
	flags.StringVar(&socket, "socket", "", "")
	flags.StringVar(&token, "token", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return supervisor.Join(context.Background(), socket, token, os.Stdin, os.Stdout)
}

func work() error {
	dlv := ""
	if len(os.Args) > 3 {
		dlv = os.Args[3]
	}
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	f := os.NewFile(supervisor.WorkerJoins, "joins")
	ln, err := net.FileListener(f)
	if err != nil {
		return err
	}
	f.Close()
	return worker.Run(worker.Config{
		Requests: os.Stdin,
		Answers:  os.NewFile(supervisor.WorkerAnswers, "answers"),
		Joins:    ln.(*net.UnixListener),
		Dlv:      supervisor.Dlv(dlv),
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
}
