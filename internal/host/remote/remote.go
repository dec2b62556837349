// Package remote runs commands on a node and uploads the agent, over any [Conn]: see
// internal/host/sshconn and internal/host/execconn.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/idle"
)

// Conn is a connection to a node. Its methods may be called from several
// goroutines.
type Conn interface {
	// Name returns the node's name for messages.
	Name() string
	// Start runs argv, whose words arrive unchanged. ctx bounds the start only; the
	// command runs until it ends, is closed, or the connection ends.
	Start(ctx context.Context, argv []string) (*Cmd, error)
	// AsRoot returns the argv that runs argv as root.
	AsRoot(argv []string) []string
	// ExplainRefusal returns why a command did not start, given what was written to its
	// standard error instead, or nil if that does not say.
	ExplainRefusal(stderr []byte) *diag.Error
	// Remedy returns the hint to show if commands do not start.
	Remedy() string
	// IdleTimeout bounds how long the node may stay silent while it owes an
	// answer.
	IdleTimeout() time.Duration
}

// WithIdleTimeout returns a context that ends with a diag.NodeSilent error when c's node
// stays silent for c.IdleTimeout(). The error says what it was waiting for. The caller
// resets the timer at each sign of life and stops it.
func WithIdleTimeout(ctx context.Context, c Conn, what string) (context.Context, *idle.Timer) {
	timeout := c.IdleTimeout()
	silent := diag.Errorf(diag.NodeSilent, "%s does not answer: no %s within %v", c.Name(), what, timeout)
	return idle.WithTimeout(ctx, timeout, silent)
}

// Cmd is a command that runs on the node.
//
//   - A message should be one Write to Stdin. Writes, and Close, which sends an
//     end of file, must not run concurrently.
//   - Reading only one of Stdout and Stderr may block forever. Both can be read to
//     their end after the command has ended.
type Cmd struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	Stderr io.Reader
	Process
}

// Process is the transport of one command. Its methods may be called from several
// goroutines.
type Process interface {
	// Wait blocks until the command has ended. It returns nil for status 0, an
	// *ExitError for another, and a diag.LinkLost or the connection's own error if the
	// transport ended first. It does not consume output.
	Wait() error
	// ExitStatus returns the command's exit status, or -1 while it runs or if the
	// status is unknown.
	ExitStatus() int
	// Close abandons the command without waiting for it: its streams end, but it may
	// continue to run.
	Close()
	// Go runs f in a goroutine that closing the connection waits for. Once the connection is
	// closed, it does not run f and returns false.
	Go(f func()) bool
	// Cause returns why the connection ended, if it has, and err otherwise.
	Cause(err error) error
}

// ExitError means that a command ended with a status other than 0.
type ExitError struct {
	Status int    // 128 or more if a signal ended it
	Signal string // its name without SIG, or empty
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "ended by signal " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// ErrClosed is the error of a connection that was closed.
var ErrClosed = errors.New("the connection was closed")

// await returns the result of f, or an error as soon as ctx ends: reading from a command
// takes no context. If ctx ends first, f continues until the connection ends at the
// latest.
func await[T any](ctx context.Context, cmd *Cmd, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	var zero T
	started := cmd.Go(func() {
		v, err := f()
		results <- result{v, err}
	})
	if !started {
		return zero, cmd.Cause(ErrClosed)
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// Abbreviate returns the beginning of a command, for messages.
func Abbreviate(argv []string) string {
	const maxLen = 60
	short, _, cut := strings.Cut(Quote(argv), "\n")
	if len(short) > maxLen {
		short, cut = strings.ToValidUTF8(short[:maxLen], ""), true
	}
	if cut {
		short += "…"
	}
	return diag.Escape(short)
}

// OneLine returns a node's error output in a form that fits into a message: one short
// line without control characters.
func OneLine(text []byte) string {
	s := strings.ReplaceAll(strings.TrimSpace(truncate(text)), "\n", "; ")
	if s == "" {
		return "no message"
	}
	return diag.Escape(s)
}

// truncate returns at most 500 bytes of text.
func truncate(text []byte) string {
	const maxLen = 500
	if len(text) > maxLen {
		return strings.ToValidUTF8(string(text[:maxLen]), "") + "…"
	}
	return string(text)
}
