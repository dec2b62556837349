//go:build linux

package supervisor

import (
	"context"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// findForeignTracer returns the process that traces pid, unless that is own, and its
// command line. It gives another agent's worker some time to exit: its daemon may just
// have ended.
func findForeignTracer(ctx context.Context, pid, own int, timeout time.Duration) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		tracer, comm, err := procfs.FindTracer(pid)
		if err != nil || tracer == own {
			return 0, ""
		}
		if tracer == 0 || comm != workerCommand {
			return tracer, comm
		}
		select {
		case <-ctx.Done():
			return tracer, comm
		case <-time.After(leavePause):
		}
	}
}

// How long to wait for another agent's worker to exit, and how often to check.
const (
	leaveTimeout = 5 * time.Second
	leavePause   = 20 * time.Millisecond
)

// NewTracedError returns the error for a process that another debugger traces. If that
// is another dapbridge, the error names its daemon.
func NewTracedError(pid, tracer int, comm string) *diag.Error {
	if comm != workerCommand {
		return diag.Errorf(diag.TargetTraced, "pid %d is traced by pid %d (%s)", pid, tracer, comm)
	}
	err := diag.Errorf(diag.TargetBusy, "pid %d is being debugged by another dapbridge (%s, pid %d on the node)", pid, comm, tracer)
	if daemon := findDaemonName(tracer); daemon != "" {
		err = diag.Errorf(diag.TargetBusy, "pid %d is being debugged by another dapbridge: %s", pid, daemon)
	}
	return err
}

// daemonLimit bounds a daemon's name, in bytes.
const daemonLimit = 256

// findDaemonName returns the name of a worker's daemon, "" if it is not known.
func findDaemonName(worker int) string {
	w, err := procfs.Find(context.Background(), api.Selector{PID: worker})
	if err != nil {
		return ""
	}
	supervisor, err := procfs.Find(context.Background(), api.Selector{PID: w.Parent})
	if err != nil {
		return ""
	}
	i := slices.Index(supervisor.Args, api.DaemonFlag)
	if i < 0 || i+1 >= len(supervisor.Args) {
		return ""
	}
	name := supervisor.Args[i+1]
	return name[:min(len(name), daemonLimit)]
}
