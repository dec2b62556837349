// Package idle bounds how long a peer may stay silent. The side that waits uses a
// [Timer] or a [NewReader]; a peer that is busy calls [StartHeartbeat] to show
// that it is alive.
package idle

import (
	"context"
	"io"
	"time"
)

// Timer ends a context when a peer stays silent for too long. Its methods may be
// called from several goroutines.
type Timer struct {
	timer   *time.Timer
	timeout time.Duration
	cancel  context.CancelCauseFunc
}

// WithTimeout returns a context that ends with the given cause unless the timer is
// reset at least once every timeout. The caller must call Stop.
func WithTimeout(ctx context.Context, timeout time.Duration, cause error) (context.Context, *Timer) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &Timer{timeout: timeout, cancel: cancel}
	t.timer = time.AfterFunc(timeout, func() { cancel(cause) })
	return ctx, t
}

// Reset starts the timeout again: the peer has shown that it is alive.
func (t *Timer) Reset() { t.timer.Reset(t.timeout) }

// Stop ends the timer and its context.
func (t *Timer) Stop() {
	t.timer.Stop()
	t.cancel(nil)
}

// Reader returns a reader of r that resets t after each Read.
func (t *Timer) Reader(r io.Reader) io.Reader { return resettingReader{r, t} }

type resettingReader struct {
	r     io.Reader
	timer *Timer
}

func (r resettingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.timer.Reset()
	return n, err
}
