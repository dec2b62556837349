package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"

	"github.com/dapbridge/dapbridge/internal/target"
)

// readSources reads which source files a process was compiled from.
func readSources(_ context.Context, p SourcesParams) (SourcesResult, error) {
	s, err := target.InspectExe(p.PID, (*target.File).Sources)
	if err != nil {
		return SourcesResult{}, RPCError(err)
	}
	r, err := pack(s)
	return r, RPCError(err)
}

func pack(s *target.Sources) (SourcesResult, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return SourcesResult{}, err
	}
	return SourcesResult{Packed: b.Bytes()}, nil
}
