//go:build !unix

package twin

import (
	"context"
	"os/exec"
	"time"
)

// command is a program that ends with ctx. What it started ends when it next
// writes.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
