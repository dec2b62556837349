package execconn

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a terminal's Ctrl-C from the engine's client: the link must
// stand until the target is let go.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup ends a client.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
