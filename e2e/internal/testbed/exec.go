//go:build linux

package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Exec runs a program on the node as root, without a shell, and returns its standard
// output. If it fails, the error contains its standard error. Exec does not use SSH,
// and the program does not run in a cgroup of the node. It is killed when ctx ends.
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	return n.runOnNode(ctx, nil, nil, argv)
}

// ExecUser is Exec as User.
func (n *Node) ExecUser(ctx context.Context, argv ...string) ([]byte, error) {
	id := strconv.Itoa(dockerID)
	return n.runOnNode(ctx, nil, []string{"--reuid=" + id, "--regid=" + id, "--init-groups"}, argv)
}

// execPath is root's PATH after a login on the node.
const execPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Command returns the command that Exec would run, without its streams.
func (n *Node) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return n.nodeCommand(ctx, nil, argv)
}

// nodeCommand returns a command that enters the node's namespaces. setpriv makes the
// program die with nsenter, which is our child and which ctx kills.
func (n *Node) nodeCommand(ctx context.Context, privileges, argv []string) *exec.Cmd {
	home := "HOME=/root"
	if privileges != nil {
		home = "HOME=/home/docker"
	}
	full := []string{"--target=" + strconv.Itoa(n.facts.Leader), "--all", "--root", "--wd", "--", "setpriv", "--pdeathsig=KILL"}
	full = append(full, privileges...)
	full = append(full, "--", "env", "-i", "PATH="+execPath, "LANG=C.UTF-8", home)
	return exec.CommandContext(ctx, "nsenter", append(full, argv...)...)
}

func (n *Node) runOnNode(ctx context.Context, stdin *os.File, privileges, argv []string) ([]byte, error) {
	cmd := n.nodeCommand(ctx, privileges, argv)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return stdout.Bytes(), fmt.Errorf("on the node: %s: %w: %s",
			strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
