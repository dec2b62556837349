package procfs

import (
	"bufio"
	"bytes"
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
)

// systemctlTimeout bounds a call of systemctl, since the manager may hang.
const systemctlTimeout = 2 * time.Second

// readUnit returns the systemd unit of a process, "" if none.
func readUnit(pid int) string {
	own, err := readProc(pid, "cgroup", statusLimit)
	if err != nil {
		return ""
	}
	manager, _ := readProc(1, "cgroup", statusLimit)
	return findUnit(own, manager)
}

// findUnit finds a unit's name in the cgroup file of a process. The manager's file
// (process 1) shows the cgroups above the node's own tree, if the node is a container
// without a cgroup namespace. If v1 and v2 are both mounted, systemd may use only one
// of them.
func findUnit(own, manager []byte) string {
	for _, hierarchy := range []string{"0::", "name=systemd:"} {
		top := strings.TrimSuffix(findCgroup(manager, hierarchy), "/init.scope")
		rest := findCgroup(own, hierarchy)
		if below, ok := strings.CutPrefix(rest, top+"/"); ok {
			rest = below
		}
		if unit := findFirstUnit(rest); unit != "" {
			return unit
		}
	}
	return ""
}

// findCgroup returns the path on a hierarchy's line; see cgroups(7), /proc/PID/cgroup:
// ID:CONTROLLERS:PATH.
func findCgroup(file []byte, hierarchy string) string {
	for line := range bytes.Lines(file) {
		text := strings.TrimSuffix(string(line), "\n")
		if hierarchy != "0::" {
			_, text, _ = strings.Cut(text, ":")
		}
		if p, ok := strings.CutPrefix(text, hierarchy); ok {
			return strings.TrimSuffix(p, " (deleted)")
		}
	}
	return ""
}

// findFirstUnit returns the first element of a cgroup path that is a unit with
// processes; the unit itself manages the groups below.
func findFirstUnit(cgroup string) string {
	for part := range strings.SplitSeq(cgroup, "/") {
		if api.IsUnit(part) {
			return part
		}
	}
	return ""
}

// findMainPIDs asks systemd for the main processes of units. The result is empty if
// there is no systemd or it does not answer.
func findMainPIDs(ctx context.Context, units ...string) map[int]bool {
	pids := map[int]bool{}
	units = slices.DeleteFunc(units, func(unit string) bool { return !api.IsUnit(unit) })
	systemctl, err := exec.LookPath("systemctl")
	if err != nil || len(units) == 0 {
		return pids
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, systemctl, append([]string{"show", "-p", "MainPID", "--"}, units...)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.WaitDelay = 100 * time.Millisecond
	out, err := cmd.Output()
	if err != nil {
		return pids
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "MainPID=")
		if pid, err := strconv.Atoi(value); ok && err == nil && pid > 0 {
			pids[pid] = true
		}
	}
	return pids
}
