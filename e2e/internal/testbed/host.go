//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// hostTools lists the programs that testbed runs on this machine and their Debian
// packages. A path stands for a file that must exist.
func hostTools() []hostTool {
	return []hostTool{
		{"mmdebstrap", "mmdebstrap"},
		{"/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
		{"systemd-nspawn", "systemd-container"},
		{"ip", "iproute2"},
		{"rsync", "rsync"},
		{"nsenter", "util-linux"},
		{"ssh", "openssh-client"},
		{"git", "git"},
		{"make", "make"},
		{"gcc", "gcc libc6-dev"},
	}
}

type hostTool struct{ program, packages string }

// installHostTools installs missing tools with apt.
func installHostTools(ctx context.Context, logf func(string, ...any)) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("a Go toolchain is needed: %w", err)
	}
	var missing []string
	for _, need := range hostTools() {
		if _, err := exec.LookPath(need.program); err != nil && !exists(need.program) {
			missing = append(missing, strings.Fields(need.packages)...)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks %s, and has no apt-get to install them", list)
	}
	logf("installing on this machine, with apt: %s ...", list)
	install := slices.Concat([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, missing)
	for _, argv := range [][]string{{"apt-get", "update"}, install} {
		// Do not kill it midway, since that would leave dpkg in a broken state.
		if err := runWithAttr(context.WithoutCancel(ctx), []string{"DEBIAN_FRONTEND=noninteractive"}, nil, argv); err != nil {
			return err
		}
	}
	return nil
}

// runCommand runs a command whose output matters only if it fails. The command is
// killed if this process ends first.
func runCommand(ctx context.Context, env []string, argv ...string) error {
	// The parent death signal follows the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return runWithAttr(ctx, env, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, argv)
}

func runWithAttr(ctx context.Context, env []string, attr *syscall.SysProcAttr, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), env...), attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
