package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// sourcesLimit bounds the sources of a target before they are packed, in bytes.
// containerd's are 210 kB; packed, 25 kB.
const sourcesLimit = 64 << 20

// SourcesParams names the process whose sources are asked for.
type SourcesParams struct {
	PID int `json:"pid"`
}

// SourcesResult holds [target.Sources] as JSON in gzip: thousands of names with
// the same beginnings, which must not hold up the link.
type SourcesResult struct {
	Packed []byte `json:"packed"`
}

// unpack undoes pack, of a node that is not trusted.
func (r SourcesResult) unpack() (target.Sources, error) {
	var s target.Sources
	z, err := gzip.NewReader(bytes.NewReader(r.Packed))
	if err != nil {
		return s, err
	}
	data, err := io.ReadAll(io.LimitReader(z, sourcesLimit+1))
	if err == nil && len(data) > sourcesLimit {
		err = fmt.Errorf("more than %d bytes", sourcesLimit)
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// Sources returns which source files the target was compiled from, by the
// executable that its process runs.
func (c *Client) Sources(ctx context.Context, t Target) (target.Sources, error) {
	var r SourcesResult
	if err := c.call(ctx, methodSources, SourcesParams{PID: t.PID}, &r); err != nil {
		return target.Sources{}, err
	}
	s, err := r.unpack()
	if err != nil {
		return target.Sources{}, diag.Errorf(diag.AgentProtocol, "the target's source files as the agent sends them: %w", err)
	}
	return s, nil
}
