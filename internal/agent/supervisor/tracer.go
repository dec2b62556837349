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

// foreignTracer returns who traces pid, unless that is own, and its command.
// Another agent's worker is waited for: its daemon may just have gone.
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

// How long, and how often, to look whether another agent's worker is leaving.
const (
	leaveTimeout = 5 * time.Second
	leavePause   = 20 * time.Millisecond
)

// TracedBy says that somebody else traces a process: another debugger, or
// another dapbridge, which then says whose it is.
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

// daemonLimit bounds what a daemon calls itself, in bytes.
const daemonLimit = 256

// daemonOf returns what a worker's daemon calls itself, "" if it does not tell.
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
