package remote

import (
	"context"
	"io"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Patient returns a context that ends when c's node has owed what is to come for
// too long. Each beat gives it the time anew. The caller calls stop.
func Patient(ctx context.Context, c Conn, what string) (timed context.Context, beat, stop func()) {
	timed, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.IdleTimeout(), func() {
		cancel(diag.Errorf(diag.NodeSilent, "%s does not answer: %s did not come within %v", c.Name(), what, c.IdleTimeout()))
	})
	return timed, func() { timer.Reset(c.IdleTimeout()) }, func() {
		timer.Stop()
		cancel(nil)
	}
}

// beating calls beat for each piece that is read.
type beating struct {
	io.Reader
	beat func()
}

func (b beating) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.beat()
	return n, err
}
