package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Sources returns the source files that the target was compiled from, as the executable
// of its process lists them.
func (c *Client) Sources(ctx context.Context, t api.Target) (exe.Sources, error) {
	var r api.SourcesResult
	if err := c.call(ctx, api.MethodSources, api.SourcesParams{PID: t.PID}, &r); err != nil {
		return exe.Sources{}, err
	}
	s, err := r.Unpack()
	if err != nil {
		return exe.Sources{}, diag.Errorf(diag.AgentProtocol, "unpack the agent's list of source files: %w", err)
	}
	return s, nil
}
