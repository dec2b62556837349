package procfs

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api"
)

// ReadMachine reads what this machine says about itself. Unreadable files are ignored.
func ReadMachine(ctx context.Context) (api.System, error) {
	if err := checkSupported(); err != nil {
		return api.System{}, err
	}
	m := readMachine(os.DirFS("/"))
	var err error
	m.Kubelet, err = findKubelet(ctx)
	return m, err
}

// readMachine reads files below root.
func readMachine(root fs.FS) api.System {
	m := api.System{
		Distribution: parseOSRelease(readSmall(root, "etc/os-release")),
		Kernel:       strings.TrimSpace(string(readSmall(root, "proc/sys/kernel/osrelease"))),
	}
	_, err := fs.Stat(root, "sys/fs/cgroup/cgroup.controllers") // cgroups(7), version 2
	m.CgroupV2 = err == nil
	for _, o := range findObstacles(root) {
		m.Obstacles = append(m.Obstacles, o.what)
	}
	return m
}

// parseOSRelease returns PRETTY_NAME of os-release(5).
func parseOSRelease(text []byte) string {
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

// IsFrozen reports whether a process's cgroup, or one above it, is frozen: then a
// debugger cannot stop the process, nor can it exit (cgroups v2, cgroup.events; v1,
// freezer.state).
func IsFrozen(pid int) bool {
	groups, err := readProc(pid, "cgroup", statusLimit)
	return err == nil && isFrozen(groups, os.DirFS("/sys/fs/cgroup"))
}

// isFrozen checks a process's groups, in the format of /proc/PID/cgroup (cgroups(7)),
// against the mounted hierarchies. Version 2 is mounted at the root or, beside those
// of version 1, in unified.
func isFrozen(groups []byte, mounted fs.FS) bool {
	for line := range bytes.Lines(groups) {
		fields := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(fields) != 3 {
			continue
		}
		group := strings.Trim(fields[2], "/")
		switch {
		case fields[0] == "0" && fields[1] == "":
			for _, root := range []string{".", "unified"} {
				if bytes.Contains(readSmall(mounted, path.Join(root, group, "cgroup.events")), []byte("frozen 1")) {
					return true
				}
			}
		case slices.Contains(strings.Split(fields[1], ","), "freezer"):
			state := readSmall(mounted, path.Join(fields[1], group, "freezer.state"))
			if s := string(bytes.TrimSpace(state)); s == "FROZEN" || s == "FREEZING" {
				return true
			}
		}
	}
	return false
}
