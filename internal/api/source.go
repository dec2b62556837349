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

// SourceParams names a source file as the executable of a process does.
type SourceParams struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"` // see [target.Process]
	File       string `json:"file"`
}

// SourceResult holds a source file.
type SourceResult struct {
	Text []byte `json:"text"`
}

// LinesResult says what a target has of a source file.
type LinesResult struct {
	Lines []int         `json:"lines"` // that it has code of, ascending
	Built time.Time     `json:"built"` // when its executable was last written, by the node's clock
	Age   time.Duration `json:"age"`   // since then, ns
}

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

// Unpack undoes pack, of a node that is not trusted.
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
