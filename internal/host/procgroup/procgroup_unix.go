//go:build unix

package procgroup

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// Command returns a command that is killed when ctx ends, together with all processes
// that it has started: it runs in a process group of its own.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
