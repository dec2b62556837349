//go:build !unix

package procgroup

import (
	"context"
	"os/exec"
	"time"
)

// Command is a program that ends with ctx. What it started ends when it next
// writes.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
