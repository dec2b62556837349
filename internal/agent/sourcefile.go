package agent

import (
	"context"
	"time"
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

// Source returns a source file as the node has it. Only a file that the target's
// function table names is read, whoever asks. The error is diag.SourceMissing if
// there is none.
func (c *Client) Source(ctx context.Context, t Target, file string) ([]byte, error) {
	var r SourceResult
	err := c.call(ctx, methodSource, SourceParams{PID: t.PID, StartTicks: t.StartTicks, File: file}, &r)
	return r.Text, err
}

// LinesResult says what a target has of a source file.
type LinesResult struct {
	Lines []int         `json:"lines"` // that it has code of, ascending
	Built time.Time     `json:"built"` // when its executable was last written, by the node's clock
	Age   time.Duration `json:"age"`   // since then, ns
}

// Lines returns what the target has of a source file.
func (c *Client) Lines(ctx context.Context, t Target, file string) (r LinesResult, err error) {
	return r, c.call(ctx, methodLines, SourceParams{PID: t.PID, StartTicks: t.StartTicks, File: file}, &r)
}
