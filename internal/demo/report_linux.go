package demo

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// report prints each step with its result and duration.
type report struct {
	out   io.Writer
	start time.Time
}

// step runs f with a time limit, and prints the text that it returns, or its error.
func (r *report) step(ctx context.Context, name string, limit time.Duration, f func(context.Context) (string, error)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	result, err := f(limited)
	mark := "ok"
	switch {
	case err != nil && ctx.Err() != nil:
		mark, result = "-", "interrupted"
	case err != nil:
		mark, result = "FAILED", err.Error()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(r.out, "%-7s %-22s %7s  %s\n", mark, name, seconds(time.Since(start)), diag.Escape(result))
	return err
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
