package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
)

// Source returns a source file from the node. The agent reads only files that the
// target's function table names. The error's code is diag.SourceMissing if there is no
// such file.
func (c *Client) Source(ctx context.Context, t api.Target, file string) ([]byte, error) {
	var r api.SourceResult
	err := c.call(ctx, api.MethodSource, api.SourceParams{PID: t.PID, StartTicks: t.StartTicks, File: file}, &r)
	return r.Text, err
}

// Lines returns which lines of a source file the target has code for.
func (c *Client) Lines(ctx context.Context, t api.Target, file string) (r api.LinesResult, err error) {
	return r, c.call(ctx, api.MethodLines, api.SourceParams{PID: t.PID, StartTicks: t.StartTicks, File: file}, &r)
}
