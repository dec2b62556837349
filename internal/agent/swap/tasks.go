package swap

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// isShim reports whether a program of that name keeps a container running while the
// runtime restarts: containerd's shims, and conmon of CRI-O and podman.
func isShim(name string) bool {
	return strings.HasPrefix(name, "containerd-shim") || name == "conmon"
}

// listTasks returns the shims and their children, which are the containers' first
// processes, and those of them in the unit's cgroup.
func listTasks(ctx context.Context, unit string) (all, inUnit []api.Task, err error) {
	list, err := procfs.ListProcesses(ctx)
	if err != nil {
		return nil, nil, err
	}
	shims := map[int]bool{}
	for _, p := range list {
		shims[p.PID] = isShim(path.Base(p.Exe))
	}
	for _, p := range list {
		if !shims[p.PID] && !shims[p.Parent] {
			continue
		}
		t := api.Task{PID: p.PID, StartTicks: p.StartTicks, Name: path.Base(p.Exe)}
		all = append(all, t)
		if p.Unit == unit {
			inUnit = append(inUnit, t)
		}
	}
	return all, inUnit, nil
}

// findLost returns the tasks in before that are not in now.
func findLost(before, now []api.Task) []api.Task {
	return slices.DeleteFunc(slices.Clone(before), func(t api.Task) bool { return slices.Contains(now, t) })
}

// checkSurvival refuses a restart that would end containers (systemd.kill(5),
// KillMode=).
func checkSurvival(u unitState, unit string, inUnit []api.Task) error {
	if u.killMode == "process" || u.killMode == "none" || len(inUnit) == 0 {
		return nil
	}
	return diag.Errorf(diag.DeployRefused, "%s has KillMode=%s: a restart would end %d container processes in its cgroup", unit, u.killMode, len(inUnit)).
		WithHint("set KillMode=process in a drop-in of the unit, or add --force if the containers may end")
}
