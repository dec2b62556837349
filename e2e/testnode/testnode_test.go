//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

// nobodyID is the uid of Debian's user nobody, who has no privileges and no home.
const nobodyID = 65534

// TestNode covers the whole life cycle of nodes. It needs root, and it takes long with
// a cold cache.
func TestNode(t *testing.T) {
	testenv.SecondTier(t)
	testenv.NeedsRoot(t, "it boots a node")
	b := newHarness(t)

	up := b.up(t, "up", "--owner", fmt.Sprint(nobodyID), "--no-source")
	n, err := testbed.FindIn(b.state, b.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a second up is refused", func(t *testing.T) {
		out, err := b.run("up")
		if err == nil || !strings.Contains(out, "up already") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("the owner logs in and uses sudo", func(t *testing.T) { checkLogin(t, up) })
	t.Run("pods", func(t *testing.T) {
		for _, args := range [][]string{{"pod", "one"}, {"pod", "two"}, {"pod", "--rm", "one"}} {
			if out, err := b.run(args...); err != nil {
				t.Errorf("%v: %v: %s", args, err, out)
			}
		}
	})
	t.Run("processes", func(t *testing.T) { checkProcesses(t, n) })
	t.Run("CRI calls", func(t *testing.T) {
		// The kubelet ends pods that it does not know, even before they start.
		systemctl(t, n, "stop", "kubelet")
		defer systemctl(t, n, "start", "kubelet")
		for _, command := range [][]string{{"version", "100", "4"}, {"run-pod", "a"}, {"create", "b"}} {
			out, err := n.Exec(t.Context(), append([]string{"criload"}, command...)...)
			if err != nil || !bytes.HasPrefix(out, []byte(`{"command":"`+command[0]+`","ok":true`)) {
				t.Errorf("%v: %v: %s", command, err, out)
			}
		}
	})
	t.Run("another containerd", func(t *testing.T) {
		if err := n.SwapContainerd(t.Context(), parts.Static); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitPod(t.Context(), "two"); err != nil {
			t.Errorf("the pod did not survive the restart: %v", err)
		}
		checkProcesses(t, n)
	})
	t.Run("down after a crash", func(t *testing.T) {
		// All processes of the node die with its first one.
		if err := syscall.Kill(leaderPID(t, n), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		b.down(t)
	})
	t.Run("down again", b.down)
	t.Run("down after a killed up", func(t *testing.T) {
		for _, kind := range []ledger.Kind{ledger.Link, ledger.Mount, ledger.Process} {
			b.killUp(t, kind, syscall.SIGKILL)
			b.down(t)
		}
	})
	t.Run("an interrupted up removes the node", func(t *testing.T) {
		b.killUp(t, ledger.Process, syscall.SIGINT)
		b.checkNothingLeft(t)
	})
}

// systemctl runs systemctl on the node.
func systemctl(t *testing.T, n *testbed.Node, args ...string) {
	t.Helper()
	if _, err := n.Exec(t.Context(), append([]string{"systemctl"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

// harness runs a testnode program with its own state directory and node name, so that
// it does not interfere with other nodes.
type harness struct{ program, state, name string }

func newHarness(t *testing.T) harness {
	t.Helper()
	// Not t.TempDir, which the owner, another user, cannot access.
	dir, err := os.MkdirTemp("", "testnode-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := harness{filepath.Join(dir, "testnode"), filepath.Join(dir, "state"), fmt.Sprintf("t%d", os.Getpid())}
	t.Cleanup(func() {
		if out, err := b.run("down"); err != nil {
			t.Errorf("down: %v: %s", err, out)
		}
		if err := ledger.RemoveTree(dir); err != nil {
			t.Error(err)
		}
	})
	if out, err := exec.Command("go", "build", "-o", b.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return b
}

func (b harness) command(args ...string) *exec.Cmd {
	return exec.Command(b.program, append(args, "--name", b.name, "--state", b.state)...)
}

func (b harness) run(args ...string) (string, error) {
	out, err := b.command(args...).CombinedOutput()
	return string(out), err
}

// up brings the node up and returns what it printed.
func (b harness) up(t *testing.T, args ...string) (d description) {
	t.Helper()
	cmd := b.command(append(args, "-o", "json")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("up: %v", err)
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("up printed %s: %v", out, err)
	}
	return d
}

func (b harness) down(t *testing.T) {
	t.Helper()
	if out, err := b.run("down"); err != nil {
		t.Fatalf("down: %v: %s", err, out)
	}
	b.checkNothingLeft(t)
}

// killUp starts an up and sends it a signal as soon as its ledger has an entry of that
// kind.
func (b harness) killUp(t *testing.T, kind ledger.Kind, signal syscall.Signal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := b.command("up")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	path := filepath.Join(b.state, b.name, "ledger.json")
	for ctx.Err() == nil {
		if raw, _ := os.ReadFile(path); bytes.Contains(raw, []byte(`"kind": "`+kind+`"`)) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Errorf("up ended before it recorded a %s: %v", kind, err)
	}
}

// checkNothingLeft checks that nothing of the node is left outside of the cache.
func (b harness) checkNothingLeft(t *testing.T) {
	t.Helper()
	machine := "testnode-" + b.name
	mounts, err := ledger.MountsBelow(b.state)
	if err != nil {
		t.Error(err)
	}
	if len(mounts) > 0 {
		t.Errorf("mounts left: %q", mounts)
	}
	for _, pattern := range []string{
		b.state, "/run/netns/" + machine, "/run/systemd/nspawn/*/" + machine + "*",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			t.Errorf("files left: %q", found)
		}
	}
	// All nodes share this file. It is left behind if it is not locked and nobody
	// removes it.
	const lock = "/run/dapbridge-testnode.lock"
	for try := 0; ; try++ {
		f, err := os.Open(lock)
		if err != nil {
			break
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		f.Close()
		if err != nil {
			break
		}
		if try == 20 {
			t.Errorf("lock file left: %s", lock)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.Contains(path, machine) {
			t.Errorf("cgroup left: %s", path)
		}
		return nil
	})
	processes, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, path := range processes {
		dir := filepath.Dir(path)
		group, _ := os.ReadFile(path)
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(line) == 0 {
			continue // a zombie that its parent has not reaped yet
		}
		if bytes.Contains(group, []byte(machine)) || bytes.Contains(line, []byte(machine)) {
			t.Errorf("process left: %s %q", dir, line)
		}
	}
}

// checkLogin checks that the owner can read the profile and log in with its key.
func checkLogin(t *testing.T, up description) {
	run := func(argv ...string) ([]byte, error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyID, Gid: nobodyID}}
		return cmd.CombinedOutput()
	}
	for _, path := range []string{
		filepath.Join(up.MinikubeHome, "profiles", up.Name, "config.json"),
		filepath.Join(up.MinikubeHome, "machines", up.Name, "config.json"),
	} {
		out, err := run("cat", path)
		if err != nil || !json.Valid(out) {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
	argv := append(up.SSHCommand, "sudo", "-n", "sh", "-c", "'id -u; hostname'")
	out, err := run(argv...)
	if err != nil || string(out) != "0\n"+up.Name+"\n" {
		t.Errorf("%v: %v: %s", argv, err, out)
	}
	info, err := os.Stat(up.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the key's mode is %v, want 0600", mode)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != nobodyID {
		t.Errorf("the key belongs to %d, want %d", uid, nobodyID)
	}
}

// checkProcesses checks what Node reports about the node's containerd.
func checkProcesses(t *testing.T, n *testbed.Node) {
	t.Helper()
	ctx := t.Context()
	pid, err := n.ContainerdPID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	host, err := n.HostPID(pid)
	if err != nil {
		t.Fatal(err)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", host)); err != nil || string(name) != "containerd\n" {
		t.Errorf("process %d (%d on the node) is %q, %v, want containerd", host, pid, name, err)
	}
	if tracer, err := n.TracerPid(ctx, pid); err != nil || tracer != 0 {
		t.Errorf("traced by %d, %v", tracer, err)
	}
	states, err := n.ThreadStates(ctx, pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(states) < 2 || states[pid] == 0 {
		t.Errorf("thread states %v, want several with the main thread's", states)
	}
	if differ, err := n.TextEqualsFile(ctx, pid); err != nil || len(differ) > 0 {
		t.Errorf("text differs at %#x, %v", differ, err)
	}
	if id, err := n.ExecUser(ctx, "id", "-un"); err != nil || string(id) != "docker\n" {
		t.Errorf("the user is %q, %v", id, err)
	}
	if _, err := os.Stat(filepath.Join(n.RootFS(), "usr/bin/containerd")); err != nil {
		t.Error(err)
	}
	if dir := n.BuildRoot(n.Containerd()); dir == "" {
		t.Error("no build directory")
	} else if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Error(err)
	}
}

// leaderPID returns the pid on this machine of the node's first process.
func leaderPID(t *testing.T, n *testbed.Node) int {
	t.Helper()
	pid, err := n.HostPID(1)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
