package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Sources returns which source files the target was compiled from, by the
// executable that its process runs.
func (c *Client) Sources(ctx context.Context, t api.Target) (exe.Sources, error) {
	var r api.SourcesResult
	if err := c.call(ctx, api.MethodSources, api.SourcesParams{PID: t.PID}, &r); err != nil {
		return exe.Sources{}, err
	}
	s, err := r.Unpack()
	if err != nil {
		return exe.Sources{}, diag.Errorf(diag.AgentProtocol, "the target's source files as the agent sends them: %w", err)
	}
	return s, nil
}
