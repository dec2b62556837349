//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
)

func (n *Node) rootDir() string { return filepath.Join(n.dir, "root") }
func (n *Node) varDir() string  { return filepath.Join(n.dir, "var") }

// machine is the node's machine name for systemd-nspawn.
func (n *Node) machine() string { return "testnode-" + n.Name() }

// makeRoot mounts the node's own directory as an overlay on the parts, as docker does
// for a container. /var is a plain directory, as minikube makes it a volume, since
// containerd's overlay snapshots do not work on an overlay. If no overlay can be
// mounted, makeRoot copies the parts.
func (n *Node) makeRoot(ctx context.Context, led *ledger.Ledger, p builtParts) error {
	upper, work := filepath.Join(n.dir, "upper"), filepath.Join(n.dir, "work")
	for _, dir := range []string{n.rootDir(), n.varDir(), upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := led.Add(ledger.Entry{Kind: ledger.Mount, Name: n.rootDir()}); err != nil {
		return err
	}
	layers := []string{p.criload, p.kubelet, p.tools, p.rootfs} // topmost first
	if p.kubelet == "" {
		layers = []string{p.criload, p.tools, p.rootfs}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(layers, ":"), upper, work)
	if err := runCommand(ctx, nil, "mount", "-t", "overlay", n.machine(), "-o", options, n.rootDir()); err != nil {
		for i := len(layers) - 1; i >= 0; i-- {
			if err := copyTree(ctx, layers[i], n.rootDir()); err != nil {
				return err
			}
		}
	}
	if err := copyTree(ctx, filepath.Join(p.rootfs, "var"), n.varDir()); err != nil {
		return err
	}
	return installContainerd(ctx, n.rootDir(), p.containerd)
}

// copyTree copies the content of the directory from into the directory to.
func copyTree(ctx context.Context, from, to string) error {
	return runCommand(ctx, nil, "cp", "-a", "--reflink=auto", from+"/.", to)
}

// copyFile replaces to with a copy of from by renaming, so that a process that runs
// the old file keeps it.
func copyFile(ctx context.Context, from, to string) error {
	next := to + ".new"
	if err := runCommand(ctx, nil, "cp", "--reflink=auto", from, next); err != nil {
		return err
	}
	return os.Rename(next, to)
}

// startSystemd boots the node in its own network namespace and cgroup, and waits for
// its first process.
func (n *Node) startSystemd(ctx context.Context, led *ledger.Ledger, filter string) error {
	group, err := n.makeCgroup(led)
	if err != nil {
		return err
	}
	if err := n.recordLeftovers(led); err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(n.dir, consoleFile))
	if err != nil {
		return err
	}
	defer console.Close()
	calls, env := "--system-call-filter="+filter, []string{"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"}
	if filter == "" {
		env = append(env, "SYSTEMD_SECCOMP=0") // as in docker's privileged containers
	}
	nspawn, err := led.Start(ctx, ledger.Daemon{
		Name: "systemd-nspawn",
		Argv: []string{
			"systemd-nspawn", "--quiet", "--boot", "--directory=" + n.rootDir(),
			"--machine=" + n.machine(), "--hostname=" + n.Name(),
			"--network-namespace-path=/run/netns/" + n.nodeNetwork().netns,
			"--bind=" + n.varDir() + ":/var", "--bind=/dev/kmsg",
			"--register=no", "--keep-unit", "--capability=all",
			"--resolv-conf=off", "--timezone=off", "--link-journal=no", calls,
		},
		Env:    env,
		Output: console, Cgroup: group,
	})
	if err != nil {
		return err
	}
	leader, err := waitLeader(ctx, nspawn)
	if err != nil {
		return err
	}
	if err := led.AddProcess("systemd in the node", leader); err != nil {
		return err
	}
	n.facts.Leader = leader
	n.facts.Start, _, err = ledger.StartTime(leader)
	return err
}

// recordLeftovers records the files that systemd-nspawn creates outside of the node's
// directory and does not remove when it is killed.
func (n *Node) recordLeftovers(led *ledger.Ledger) error {
	var root unix.Stat_t
	if err := unix.Stat(n.rootDir(), &root); err != nil {
		return fmt.Errorf("stat %s: %w", n.rootDir(), err)
	}
	for _, name := range []string{
		"propagate/" + n.machine(),
		fmt.Sprintf("locks/inode-%d:%d", root.Dev, root.Ino),
	} {
		if err := led.Add(ledger.Entry{Kind: ledger.Path, Name: "/run/systemd/nspawn/" + name}); err != nil {
			return err
		}
	}
	return nil
}

// makeCgroup makes the cgroup (version 2) of the node. If version 1 is mounted too,
// systemd-nspawn makes a group of the same name in systemd's hierarchy.
func (n *Node) makeCgroup(led *ledger.Ledger) (group string, err error) {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	unified, mirror := cgroupMounts(string(raw))
	if unified == "" {
		return "", errors.New("cgroup v2 is not mounted on this machine")
	}
	group = filepath.Join(unified, n.machine())
	if exists(group) { // not ours: if we recorded it, Down would kill its processes
		return "", fmt.Errorf("%s exists already", group)
	}
	if mirror != "" {
		if err := led.Add(ledger.Entry{Kind: ledger.Cgroup, Name: filepath.Join(mirror, n.machine())}); err != nil {
			return "", err
		}
	}
	if err := led.Add(ledger.Entry{Kind: ledger.Cgroup, Name: group}); err != nil {
		return "", err
	}
	return group, os.Mkdir(group, 0o755)
}

// cgroupMounts parses proc_pid_mounts(5) and returns the mount points of cgroup v2 and
// of systemd's hierarchy of version 1, "" for one that is not mounted.
func cgroupMounts(mounts string) (unified, systemd string) {
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line) // device, mount point, type, options
		switch {
		case len(fields) < 4:
		case fields[2] == "cgroup2" && unified == "":
			unified = fields[1]
		case fields[2] == "cgroup" && strings.Contains(fields[3], "name=systemd"):
			systemd = fields[1]
		}
	}
	return unified, systemd
}

// waitLeader waits until nspawn has a child that is the first process of a PID
// namespace, and returns its pid.
func waitLeader(ctx context.Context, nspawn int) (pid int, err error) {
	err = poll(ctx, 20*time.Second, func() error {
		if !exists(fmt.Sprintf("/proc/%d", nspawn)) {
			return permanentError{errors.New("systemd-nspawn ended")}
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", nspawn))
		if err != nil {
			return err
		}
		for field := range strings.FieldsSeq(string(children)) {
			status, err := readStatus("/proc/" + field)
			if err == nil && strings.HasSuffix(status["NSpid"], "\t1") {
				_, err = fmt.Sscan(field, &pid)
				return err
			}
		}
		return errors.New("systemd-nspawn has not started the node's first process")
	})
	return pid, err
}

// permanentError ends poll at once.
type permanentError struct{ error }

// poll calls try until it succeeds or fails with a permanentError. After the timeout it
// returns the last error.
func poll(ctx context.Context, timeout time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		var stop permanentError
		if err == nil || errors.As(err, &stop) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
