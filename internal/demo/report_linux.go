package demo

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// report prints the steps, each with what it showed and how long it took.
type report struct {
	out   io.Writer
	start time.Time
}

// step runs one step within a deadline, and prints it.
func (r *report) step(ctx context.Context, name string, limit time.Duration, f func(context.Context) (string, error)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	shown, err := f(limited)
	mark := "ok"
	switch {
	case err != nil && ctx.Err() != nil:
		mark, shown = "-", "interrupted"
	case err != nil:
		mark, shown = "FAILED", err.Error()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(r.out, "%-7s %-22s %7s  %s\n", mark, name, seconds(time.Since(start)), diag.Escape(shown))
	return err
}

func (r *report) linef(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
