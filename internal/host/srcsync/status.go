package srcsync

import (
	"fmt"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
)

// Status is the state of a [Syncer].
type Status struct {
	Dir   string    `json:"dir"`
	To    string    `json:"to"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // when it entered that state
	Error string    `json:"error,omitempty"`
	// Pending is the number of changed paths that are not copied yet, -1 if a full scan is
	// due.
	Pending int `json:"pending"`
	// Done and Total count the changes of the current run.
	Done  int      `json:"done,omitempty"`
	Total int      `json:"total,omitempty"`
	Last  *LastRun `json:"last,omitempty"` // the last full scan, or other run that did something
}

// State is what a Syncer is doing.
type State string

// The states of a Syncer.
const (
	Watching State = "watching"
	Copying  State = "copying"
	Waiting  State = "waiting" // for the node, because of Error
	Stopped  State = "stopped" // for good, because of Error
)

// maxFailedShown bounds LastRun.Failed.
const maxFailedShown = 10

// LastRun is the result of a run.
type LastRun struct {
	At      time.Time              `json:"at"`
	Files   int                    `json:"files"`
	Bytes   int64                  `json:"bytes"`
	Removed int                    `json:"removed"`
	Seconds float64                `json:"seconds"`
	Failed  []filesync.PathProblem `json:"failed,omitempty"` // at most maxFailedShown
}

func newLastRun(r Report) *LastRun {
	return &LastRun{time.Now(), r.Files, r.Bytes, r.Removed, r.Seconds, r.Failed[:min(len(r.Failed), maxFailedShown)]}
}

// Trouble describes the current problem, "" if there is none. s may be nil.
func (s *Status) Trouble() string {
	switch {
	case s == nil:
		return ""
	case s.Error != "":
		return fmt.Sprintf("the source is not copied to %s: %s", s.To, s.Error)
	case s.Last != nil && len(s.Last.Failed) > 0:
		return fmt.Sprintf("not all of the source could be copied to %s", s.To)
	}
	return ""
}
