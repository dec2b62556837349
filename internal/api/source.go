package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// SourceParams names a source file by the path recorded in a process's executable.
type SourceParams struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"` // see [Process]
	File       string `json:"file"`
}

// SourceResult holds a source file.
type SourceResult struct {
	Text []byte `json:"text"`
}

// LinesResult says which lines of a source file a target was compiled from.
type LinesResult struct {
	Lines []int         `json:"lines"` // the lines that have code, ascending
	Built time.Time     `json:"built"` // when its executable was last written, by the node's clock
	Age   time.Duration `json:"age"`   // time since Built, ns
}

// sourcesLimit bounds the uncompressed sources of a target, in bytes. containerd's are
// 210 kB, 25 kB compressed.
const sourcesLimit = 64 << 20

// SourcesParams names a process.
type SourcesParams struct {
	PID int `json:"pid"`
}

// SourcesResult holds [exe.Sources] as gzip-compressed JSON: thousands of names with
// common prefixes, which must not delay other messages of the link.
type SourcesResult struct {
	Packed []byte `json:"packed"`
}

// Unpack decompresses the sources, within bounds: the node is not trusted.
func (r SourcesResult) Unpack() (exe.Sources, error) {
	var s exe.Sources
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
