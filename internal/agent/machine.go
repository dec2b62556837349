package agent

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/target"
)

const methodMachine = "machine" // -> Machine

// Machine is what the agent finds where it runs.
type Machine struct {
	target.Machine
	Dir       string `json:"dir"`              // below which the agent and its files stand
	Free      int64  `json:"free"`             // bytes that root may still write there
	Rsync     string `json:"rsync,omitempty"`  // path of the program, "" if there is none
	NoTracing string `json:"noTracing"`        // why a child could not be traced, "" if it could
	Frozen    bool   `json:"frozen,omitempty"` // the target's cgroup is
}

// Machine looks at the machine that the agent runs on.
func (c *Client) Machine(ctx context.Context) (m Machine, err error) {
	return m, c.call(ctx, methodMachine, nil, &m)
}
