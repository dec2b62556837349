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

// readStatus reads a status file of proc, see proc_pid_status(5). Values keep
// the tab that leads them.
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

// proc is the directory of a process in the node's proc, which this machine
// can read and which counts processes as the node does.
func (n *Node) procDir(pid int) string {
	return filepath.Join(n.RootFS(), "proc", strconv.Itoa(pid))
}

// HostPID returns the number that a process of the node has on this machine.
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
			continue // ended meanwhile
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

// ContainerdPID is the main process of containerd.service, as the node's
// systemd counts.
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

// TracerPid returns who traces a process of the node, as the node counts; 0 is
// nobody.
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

// ThreadStates returns the state letter of each thread of a process of the
// node, as proc_pid_stat(5) has them: t is stopped by a tracer, T by a signal.
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
			continue // ended meanwhile
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
