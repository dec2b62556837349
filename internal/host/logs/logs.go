// Package logs prints the journal of the target's systemd unit.
package logs

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Journal selects lines of the target's journal.
type Journal struct {
	Follow bool
	Since  time.Time     // zero for the last lines only
	Ago    time.Duration // if not 0, since that long ago by the node's clock
}

// The number of last lines that are printed if no time is given: fewer with Follow, like
// tail -f.
const (
	defaultLines       = 100
	defaultFollowLines = 10
)

// maxLineSize is longer than any line that journald accepts from a service, in bytes
// (journald.conf(5), LineMax).
const maxLineSize = 256 << 10

// Result says what was written.
type Result struct {
	Unit  string
	Lines int
}

// Write writes the journal of the target's unit to w, escaped for a terminal. With Follow
// it continues until ctx ends, which is then not an error. If the target is not running,
// its usual unit is used.
func (j Journal) Write(ctx context.Context, c link.Config, w io.Writer) (Result, error) {
	l, err := link.Dial(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer l.Close()
	var r Result
	if r.Unit, err = findUnit(ctx, l, c.Target); err != nil {
		return r, err
	}
	r.Lines, err = runJournalctl(ctx, l, j.argv(r.Unit), w)
	if j.Follow && ctx.Err() != nil {
		err = nil
	}
	return r, err
}

// findUnit returns the systemd service that the target runs in, or its usual one if it is
// not running.
func findUnit(ctx context.Context, l *link.Link, sel api.Selector) (string, error) {
	t, err := l.Target(ctx)
	switch {
	case diag.CodeOf(err) == diag.TargetNone && sel.PID == 0:
		return api.ServiceOf(sel.Executable()), nil
	case err != nil:
		return "", err
	case !strings.HasSuffix(t.Unit, ".service"):
		return "", diag.Errorf(diag.TargetNoUnit, "%s (pid %d) runs in no systemd service", t.Exe, t.PID)
	}
	return t.Unit, nil
}

// argv returns the journalctl(1) command line. With --all, journalctl leaves unprintable
// characters as they are; copyEscaped escapes them.
func (j Journal) argv(unit string) []string {
	argv := []string{"journalctl", "--unit=" + unit, "--output=short-iso", "--no-hostname", "--all", "--quiet", "--no-pager"}
	switch {
	case j.Ago != 0:
		argv = append(argv, "--since=-"+strconv.FormatInt(int64(j.Ago/time.Second), 10)+"s")
	case !j.Since.IsZero():
		argv = append(argv, "--since=@"+strconv.FormatInt(j.Since.Unix(), 10))
	case j.Follow:
		argv = append(argv, "--lines="+strconv.Itoa(defaultFollowLines))
	default:
		argv = append(argv, "--lines="+strconv.Itoa(defaultLines))
	}
	if j.Follow {
		argv = append(argv, "--follow")
		if j.Ago != 0 || !j.Since.IsZero() {
			argv = append(argv, "--no-tail")
		}
	}
	return argv
}

// runJournalctl copies journalctl's output to w. When ctx ends, the output is closed,
// which ends journalctl.
func runJournalctl(ctx context.Context, l *link.Link, argv []string, w io.Writer) (lines int, err error) {
	cmd, err := l.StartCommand(ctx, "journalctl", argv)
	if err != nil {
		return 0, err
	}
	defer cmd.Close()
	type copyResult struct {
		lines int
		err   error
	}
	done := make(chan copyResult, 1)
	l.Go(func() {
		n, err := copyEscaped(w, cmd.Stdout)
		done <- copyResult{n, err}
	})
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case r := <-done:
		if r.err != nil {
			return r.lines, r.err
		}
		lines = r.lines
	}
	lastLine := cmd.LastLine()
	var exit *remote.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return lines, diag.Errorf(diag.JournalFailed, "journalctl on the node: %w: %s", err, lastLine)
	} else if err != nil {
		return lines, err
	}
	return lines, nil
}

// copyEscaped copies lines, escaped, each in one write. A line over maxLineSize is
// written in parts.
func copyEscaped(w io.Writer, r io.Reader) (lines int, err error) {
	in := bufio.NewReaderSize(r, maxLineSize)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if _, err := io.WriteString(w, diag.Escape(string(line))); err != nil {
				return lines, err
			}
			if line[len(line)-1] == '\n' {
				lines++
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return lines, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return lines, err
		}
	}
}
