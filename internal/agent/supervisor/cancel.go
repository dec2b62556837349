package supervisor

import (
	"context"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/api"
)

// tellCancel is a client's hook: it tells the server of a call that was given
// up.
func sendCancel(c *jrpc2.Client, r *jrpc2.Response) {
	c.Notify(context.Background(), api.MethodCancel, api.CancelParams{ID: r.ID()}) // an error means that the server is gone
}

// CancelCall is the server's handler for that: it ends the call's context.
func CancelCall(ctx context.Context, p api.CancelParams) error {
	jrpc2.ServerFromContext(ctx).CancelRequest(p.ID)
	return nil
}
