//go:build unix

package execconn

import (
	"os/exec"
	"syscall"
)

// newGroup keeps Ctrl-C in a terminal from reaching the engine's client: the link must
// last until the target is released.
func newGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills a client that was started in a process group of its own, and what the
// client has started (ssh, for an engine on another machine).
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
