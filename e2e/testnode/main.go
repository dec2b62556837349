//go:build linux

// Testnode brings up a machine such as minikube's docker driver makes, for
// tests and for people: systemd, sshd, containerd, a kubelet, and a minikube
// profile that leads there.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are a process's standard input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// logf writes a line for the reader of the terminal.
func (s streams) logf(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		s.logf("error: interrupted")
		return 130 // as a shell reports a program that Ctrl-C ended
	}
	s.logf("error: %v", err)
	return 1
}

// where says which node a command is about.
type nodeFlags struct{ name, state string }

func newRoot(s streams) *cobra.Command {
	var w nodeFlags
	root := &cobra.Command{
		Use:   "testnode",
		Short: "Boot a node such as minikube's docker driver makes",
		Long: `Testnode boots a node such as minikube's docker driver makes: systemd, sshd,
containerd under systemd, runc and a kubelet, in a container of systemd-nspawn
with a network of its own. It writes a minikube profile that leads there.

It needs Linux, root and Go. The first "up" builds containerd, the kubelet and
the rest from their sources, about eight minutes on two cores; they are kept in
$DAPBRIDGE_TESTNODE_CACHE, or dapbridge-testnode in the user's cache directory.`,
		Example: `  sudo go run ./e2e/testnode up --owner $(id -u)
  testnode up                               # boots, prints how to reach it
  testnode pod hello                        # a static pod, through the kubelet
  testnode ssh -- systemctl status containerd
  testnode down`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&w.name, "name", testbed.DefaultName, "the node's name, and its profile's")
	flags.StringVar(&w.state, "state", testbed.DefaultState, "directory that nodes live in")
	root.AddCommand(newUp(s, &w), newPrepare(s), newDown(s, &w), newPod(s, &w), newList(s, &w), newSSH(s, &w), newProxy(s, &w))
	return root
}
