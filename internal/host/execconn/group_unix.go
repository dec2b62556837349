//go:build unix

package execconn

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a terminal's Ctrl-C from the engine's client: the link must
// stand until the target is let go.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends a client that was started in a group of its own, and what it
// has started (an ssh, for an engine on another machine).
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
