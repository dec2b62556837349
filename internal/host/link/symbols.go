package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
)

// HasSymbols reports whether the node has the debug file.
func (c *Client) HasSymbols(ctx context.Context, hash string) (has bool, err error) {
	return has, c.call(ctx, api.MethodHasSymbols, api.SymbolsParams{Hash: hash}, &has)
}

// RemoveSymbols removes all debug files on the node.
func (c *Client) RemoveSymbols(ctx context.Context) (r api.RemovedSymbols, err error) {
	return r, c.call(ctx, api.MethodRemoveSymbols, nil, &r)
}
