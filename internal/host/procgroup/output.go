package procgroup

import (
	"context"
	"errors"
	"strings"
)

// Output runs a command in a directory with exactly these variables, and returns its
// standard output. If the command fails, the error is the end of its standard error; if
// ctx has ended, its cause.
func Output(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	var out, stderr strings.Builder
	cmd := Command(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &stderr
	cmd.Env = append(append([]string{}, env...), "PWD="+dir)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if text := LastLines(stderr.String(), 5); text != "" {
			return nil, errors.New(text)
		}
		return nil, err
	}
	return []byte(out.String()), nil
}

// LastLines returns the last n lines of a command's output as one line.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
