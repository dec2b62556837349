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

// Exec runs a program on the node as root, without a shell, and returns its
// standard output; a failure's error holds its standard error. It does not go
// through SSH, nor does the program run in a cgroup of the node's. The program
// is killed when ctx ends.
func (n *Node) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	return n.runOnNode(ctx, nil, nil, argv)
}

// ExecUser is Exec as User.
func (n *Node) ExecUser(ctx context.Context, argv ...string) ([]byte, error) {
	id := strconv.Itoa(dockerID)
	return n.runOnNode(ctx, nil, []string{"--reuid=" + id, "--regid=" + id, "--init-groups"}, argv)
}

// execPath is the search path that the node's login gives root.
const execPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Command prepares a program for what Exec does. Its streams are the caller's.
func (n *Node) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return n.nodeCommand(ctx, nil, argv)
}

// command enters the node's namespaces. setpriv has the program die with nsenter,
// which is this process's child and the one that ctx kills.
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
