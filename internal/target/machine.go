package target

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Machine is what the machine that the agent runs on says of itself.
type Machine struct {
	System    string   `json:"system,omitempty"`    // name and version of the distribution
	Kernel    string   `json:"kernel,omitempty"`    // its release, as uname -r
	CgroupV2  bool     `json:"cgroupV2"`            // of the unified hierarchy
	Obstacles []string `json:"obstacles,omitempty"` // what may keep us from tracing, see ExplainRefusal
	Kubelet   *Kubelet `json:"kubelet,omitempty"`   // nil if none runs
}

// ReadMachine reads what this machine says of itself. What can't be read is left
// out.
func ReadMachine(ctx context.Context) (Machine, error) {
	if err := supported(); err != nil {
		return Machine{}, err
	}
	m := readMachine(os.DirFS("/"))
	var err error
	m.Kubelet, err = findKubelet(ctx)
	return m, err
}

// readMachine reads files below the root of a file system.
func readMachine(root fs.FS) Machine {
	m := Machine{
		System: osRelease(readSmall(root, "etc/os-release")),
		Kernel: strings.TrimSpace(string(readSmall(root, "proc/sys/kernel/osrelease"))),
	}
	_, err := fs.Stat(root, "sys/fs/cgroup/cgroup.controllers") // cgroups(7), version 2
	m.CgroupV2 = err == nil
	for _, o := range obstacles(root) {
		m.Obstacles = append(m.Obstacles, o.what)
	}
	return m
}

// osRelease returns PRETTY_NAME of os-release(5).
func osRelease(text []byte) string {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("PRETTY_NAME=")); ok {
			if name, err := strconv.Unquote(string(value)); err == nil {
				return name
			}
			return string(bytes.Trim(value, `'`))
		}
	}
	return ""
}

// Frozen reports whether a process's cgroup is frozen, in which it can't be
// stopped by a debugger either (cgroups v2, cgroup.events).
func Frozen(pid int) bool {
	data, err := readProc(pid, "cgroup", statusLimit)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(data) {
		if path, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("0::/")); ok {
			events := readSmall(os.DirFS("/sys/fs/cgroup"), strings.Trim(string(path)+"/cgroup.events", "/"))
			return bytes.Contains(events, []byte("frozen 1"))
		}
	}
	return false
}
