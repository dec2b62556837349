package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
)

// Source returns a source file as the node has it. Only a file that the target's
// function table names is read, whoever asks. The error is diag.SourceMissing if
// there is none.
func (c *Client) Source(ctx context.Context, t api.Target, file string) ([]byte, error) {
	var r api.SourceResult
	err := c.call(ctx, api.MethodSource, api.SourceParams{PID: t.PID, StartTicks: t.StartTicks, File: file}, &r)
	return r.Text, err
}

// Lines returns what the target has of a source file.
func (c *Client) Lines(ctx context.Context, t api.Target, file string) (r api.LinesResult, err error) {
	return r, c.call(ctx, api.MethodLines, api.SourceParams{PID: t.PID, StartTicks: t.StartTicks, File: file}, &r)
}
