package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
)

// Machine returns facts about the machine that the agent runs on.
func (c *Client) Machine(ctx context.Context) (m api.Machine, err error) {
	return m, c.call(ctx, api.MethodMachine, nil, &m)
}
