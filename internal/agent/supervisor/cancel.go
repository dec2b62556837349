package supervisor

import (
	"context"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/api"
)

// sendCancel is a jrpc2 client's OnCancel hook: it tells the server which call was
// cancelled.
func sendCancel(c *jrpc2.Client, r *jrpc2.Response) {
	c.Notify(context.Background(), api.MethodCancel, api.CancelParams{ID: r.ID()}) // fails only if the server is gone
}

// CancelCall is the server's handler for that: it cancels the call's context.
func CancelCall(ctx context.Context, p api.CancelParams) error {
	jrpc2.ServerFromContext(ctx).CancelRequest(p.ID)
	return nil
}
