//go:build linux

// Testnode boots a machine that resembles a node of minikube's docker driver, for tests
// and for manual use: systemd, sshd, containerd, a kubelet, and a minikube profile for
// it.
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
	// A second signal terminates the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are a process's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// logf writes a line to standard error.
func (s streams) logf(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }

// run runs the program and returns its exit status.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		s.logf("error: interrupted")
		return 130 // as shells report a program terminated by Ctrl-C
	}
	s.logf("error: %v", err)
	return 1
}

// nodeFlags are the flags that name a node.
type nodeFlags struct{ name, state string }

func newRoot(s streams) *cobra.Command {
	var w nodeFlags
	root := &cobra.Command{
		Use:   "testnode",
		Short: "Boot a node like those of minikube's docker driver",
		Long: `Testnode boots a node like those of minikube's docker driver: systemd, sshd,
containerd under systemd, runc and a kubelet, in a systemd-nspawn container with
its own network. It writes a minikube profile for the node.

It needs Linux, root and Go. The first "up" builds containerd, the kubelet and
the rest from source, which takes about eight minutes on two cores. The cache is
$DAPBRIDGE_TESTNODE_CACHE, or dapbridge-testnode in the user's cache directory.`,
		Example: `  sudo go run ./e2e/testnode up --owner $(id -u)
  testnode up                               # boot a node, print how to reach it
  testnode pod hello                        # run a static pod through the kubelet
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
	flags.StringVar(&w.name, "name", testbed.DefaultName, "name of the node and its minikube profile")
	flags.StringVar(&w.state, "state", testbed.DefaultState, "directory of the nodes")
	root.AddCommand(newUp(s, &w), newPrepare(s), newDown(s, &w), newPod(s, &w), newList(s, &w), newSSH(s, &w), newProxy(s, &w))
	return root
}
