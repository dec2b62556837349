package execconn

import (
	"os/exec"
	"syscall"
)

// newGroup keeps Ctrl-C in a terminal from reaching the engine's client: the link must
// last until the target is released.
func newGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup kills a client.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
