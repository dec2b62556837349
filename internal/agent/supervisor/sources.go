package supervisor

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// readSources lists the source files that a process was compiled from.
func readSources(_ context.Context, p api.SourcesParams) (api.SourcesResult, error) {
	s, err := procfs.InspectExe(p.PID, (*exe.File).Sources)
	if err != nil {
		return api.SourcesResult{}, api.ToRPC(err)
	}
	r, err := packSources(s)
	return r, api.ToRPC(err)
}

func packSources(s *exe.Sources) (api.SourcesResult, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return api.SourcesResult{}, err
	}
	return api.SourcesResult{Packed: b.Bytes()}, nil
}
