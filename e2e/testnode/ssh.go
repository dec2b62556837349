//go:build linux

package main

import (
	"os"
	"os/exec"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

func newSSH(_ streams, w *nodeFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "ssh [-- COMMAND...]",
		Short: "Log in to a node, or run a command on it",
		Example: `  testnode ssh
  testnode ssh -- sudo journalctl -u containerd`,
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := testbed.FindIn(w.state, w.name)
			if err != nil {
				return err
			}
			path, err := exec.LookPath("ssh")
			if err != nil {
				return err
			}
			// ssh replaces this process, and so inherits the terminal.
			return syscall.Exec(path, slices.Concat(n.SSHCommand(), args), os.Environ())
		},
	}
}
