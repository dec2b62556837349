//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// readStatus reads the status file in a process's directory (proc_pid_status(5)).
// Values keep their leading tab.
func readStatus(dir string) (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.TrimRight(value, "\n")
		}
	}
	return fields, nil
}

// procDir returns the directory of a process in the node's /proc. Its pid is the node's.
func (n *Node) procDir(pid int) string {
	return filepath.Join(n.RootFS(), "proc", strconv.Itoa(pid))
}

// HostPID returns the pid on this machine of a process on the node.
func (n *Node) HostPID(pidInNode int) (int, error) {
	namespace := func(pid string) (string, error) { return os.Readlink("/proc/" + pid + "/ns/pid") }
	want, err := namespace(strconv.Itoa(n.facts.Leader))
	if err != nil {
		return 0, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		status, err := readStatus(dir)
		if err != nil {
			continue // it ended meanwhile
		}
		numbers := strings.Fields(status["NSpid"])
		if len(numbers) < 2 || numbers[len(numbers)-1] != strconv.Itoa(pidInNode) {
			continue
		}
		if got, err := namespace(filepath.Base(dir)); err == nil && got == want {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("no process %d on the node", pidInNode)
}

// ContainerdPID returns the pid on the node of containerd.service's main process.
func (n *Node) ContainerdPID(ctx context.Context) (int, error) {
	return n.mainPID(ctx, "containerd.service")
}

func (n *Node) mainPID(ctx context.Context, unit string) (int, error) {
	out, err := n.Exec(ctx, "systemctl", "show", "--property=MainPID", "--value", unit)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err == nil && pid == 0 {
		err = fmt.Errorf("%s has no main process", unit)
	}
	return pid, err
}

// TracerPid returns the tracer of a process on the node, by its pid on the node; 0 if
// there is none.
func (n *Node) TracerPid(ctx context.Context, pid int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	status, err := readStatus(n.procDir(pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(status["TracerPid"]))
}

// ThreadStates returns the state letter of each thread of a process on the node
// (proc_pid_stat(5)): t is stopped by a tracer, T by a signal.
func (n *Node) ThreadStates(ctx context.Context, pid int) (map[int]byte, error) {
	dirs, err := filepath.Glob(n.procDir(pid) + "/task/[0-9]*")
	if err != nil {
		return nil, err
	}
	states := make(map[int]byte, len(dirs))
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		status, err := readStatus(dir)
		if err != nil {
			continue // it ended meanwhile
		}
		tid, err := strconv.Atoi(filepath.Base(dir))
		if letter := strings.TrimSpace(status["State"]); err == nil && letter != "" {
			states[tid] = letter[0]
		}
	}
	if len(states) == 0 {
		return nil, fmt.Errorf("no process %d on the node", pid)
	}
	return states, nil
}
