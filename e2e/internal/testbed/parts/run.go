//go:build linux

package parts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// command is a command that a recipe runs.
type command struct {
	dir  string
	env  []string // added to this process's environment
	argv []string
}

// workspace is where a part is built. Everything except out is removed afterwards.
type workspace struct {
	out string // becomes the part
	tmp string // for temporary files
}

// run runs c in its own mount and PID namespaces, so that if ctx or this process ends,
// neither grandchildren nor mounts are left.
func (w workspace) run(ctx context.Context, c command) error {
	// The parent death signal follows the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var out bytes.Buffer
	argv := append([]string{"--mount", "--pid", "--fork", "--kill-child"}, c.argv...)
	cmd := exec.CommandContext(ctx, "unshare", argv...)
	cmd.Dir, cmd.Env = c.dir, append(append(os.Environ(), "TMPDIR="+w.tmp), c.env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.argv, " "), err, lastLines(out.String(), 30))
	}
	return nil
}

// runAll runs several commands one after the other.
func (w workspace) runAll(ctx context.Context, commands ...command) error {
	for _, c := range commands {
		if err := w.run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
