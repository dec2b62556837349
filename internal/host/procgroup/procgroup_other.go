//go:build !unix

package procgroup

import (
	"context"
	"os/exec"
	"time"
)

// Command returns a command that is killed when ctx ends. The processes that it has
// started end when they next write.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
