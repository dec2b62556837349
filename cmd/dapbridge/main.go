// Command dapbridge debugs a Go process on a node, primarily containerd in minikube,
// from an IDE on the host: see dapbridge --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
)

// A worker's main goroutine must stay on the main thread, which can be requested only
// before main runs: see worker.Run.
func init() {
	if len(os.Args) > 2 && slices.Equal(os.Args[1:3], []string{"agent", "worker"}) {
		runtime.LockOSThread()
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	env := environment{
		args: os.Args[1:], getenv: os.Getenv,
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
	}
	status := run(ctx, env)
	stop()
	os.Exit(status)
}
