package daemon

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
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Journal says which lines of the target's journal are wanted.
type Journal struct {
	Follow bool
	Since  time.Time     // the zero time for the last lines only
	Ago    time.Duration // since so long ago by the node's clock, if not 0
}

// journalLines is how many of the last lines are shown of a journal of which no
// time is named. Followed ones begin with fewer, as tail -f does.
const (
	journalLines  = 100
	followedLines = 10
)

// journalLine is longer than any line that journald takes from a service
// (journald.conf(5), LineMax).
const journalLine = 256 << 10

// JournalResult says what was written.
type JournalResult struct {
	Unit  string
	Lines int
}

// Journal writes the journal of the target's unit to w, escaped for a terminal,
// to its end; with Follow until ctx ends, which then is no error. A target that
// does not run is looked for by its usual unit.
func (j Journal) Write(ctx context.Context, c Config, w io.Writer) (JournalResult, error) {
	l, err := dial(ctx, c)
	if err != nil {
		return JournalResult{}, err
	}
	defer l.close()
	var r JournalResult
	if r.Unit, err = l.unit(ctx, c.Target); err != nil {
		return r, err
	}
	r.Lines, err = l.journal(ctx, j.argv(r.Unit), w)
	if j.Follow && ctx.Err() != nil {
		err = nil
	}
	return r, err
}

// unit returns the systemd service that the target runs in, or would.
func (l *Link) unit(ctx context.Context, sel api.Selector) (string, error) {
	t, err := l.client.Target(ctx)
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

// argv is journalctl(1). What is not printable comes as it is and is escaped
// here.
func (j Journal) argv(unit string) []string {
	argv := []string{"journalctl", "--unit=" + unit, "--output=short-iso", "--no-hostname", "--all", "--quiet", "--no-pager"}
	switch {
	case j.Ago != 0:
		argv = append(argv, "--since=-"+strconv.FormatInt(int64(j.Ago/time.Second), 10)+"s")
	case !j.Since.IsZero():
		argv = append(argv, "--since=@"+strconv.FormatInt(j.Since.Unix(), 10))
	case j.Follow:
		argv = append(argv, "--lines="+strconv.Itoa(followedLines))
	default:
		argv = append(argv, "--lines="+strconv.Itoa(journalLines))
	}
	if j.Follow {
		argv = append(argv, "--follow")
		if j.Ago != 0 || !j.Since.IsZero() {
			argv = append(argv, "--no-tail")
		}
	}
	return argv
}

// journal runs journalctl and copies what it writes. When ctx ends, journalctl
// sees that nobody reads it any more.
func (l *Link) journal(ctx context.Context, argv []string, w io.Writer) (lines int, err error) {
	cmd, err := l.conn.Start(ctx, l.conn.AsRoot(argv))
	if err != nil {
		return 0, err
	}
	defer cmd.Close()
	type copied struct {
		lines int
		err   error
	}
	done := make(chan copied, 1)
	said := make(chan string, 1)
	l.wg.Go(func() { said <- copyLog(l.log, "journalctl", cmd.Stderr) })
	l.wg.Go(func() {
		n, err := copyEscaped(w, cmd.Stdout)
		done <- copied{n, err}
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
	last := <-said
	var exit *remote.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return lines, diag.Errorf(diag.JournalFailed, "journalctl on the node: %w: %s", err, last)
	} else if err != nil {
		return lines, err
	}
	return lines, nil
}

// copyEscaped copies lines, escaped, each in one write. A line that is too long
// to be journald's comes in parts.
func copyEscaped(w io.Writer, r io.Reader) (lines int, err error) {
	in := bufio.NewReaderSize(r, journalLine)
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
