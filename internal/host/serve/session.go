package serve

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/pathmap"
)

// session implements [bridge.Session].
type session struct {
	link   *link.Link
	token  string
	lease  time.Duration
	cmd    *remote.Cmd // its channel
	target api.Target
	paths  *pathmap.Map
	files  *source.Files

	table       *api.FunctionTable // set if the target has no other debug information
	noVariables string             // why expressions cannot be evaluated then

	outputMu sync.Mutex
	output   func(line string) // nil before Notify
	pending  []string          // lines from before Notify

	endMu  sync.Mutex
	ended  bool
	endErr error
}

func (s *session) Read(p []byte) (int, error)  { return s.cmd.Stdout.Read(p) }
func (s *session) Write(p []byte) (int, error) { return s.cmd.Stdin.Write(p) }
func (s *session) Map() *pathmap.Map           { return s.paths }
func (s *session) Sources() bridge.SourceFiles { return s.files }

// Target implements [bridge.Session].
func (s *session) Target() bridge.TargetInfo {
	t := bridge.TargetInfo{Name: path.Base(s.target.Exe), PID: s.target.PID, NoVariables: s.noVariables}
	if s.target.Build.Stripped && s.table == nil {
		t.Note = optimisedNote
	}
	return t
}

// Notify implements [bridge.Session].
func (s *session) Notify(show func(line string)) {
	s.outputMu.Lock()
	defer s.outputMu.Unlock()
	s.output = show
	for _, line := range s.pending {
		show(line)
	}
	s.pending = nil
}

// tellUser shows the user a line, as soon as Notify has been called. There is at most one
// line about the target's Go version, one about missing symbols, and one per module that is
// fetched, so pending stays small.
func (s *session) tellUser(line string) {
	s.outputMu.Lock()
	defer s.outputMu.Unlock()
	line = diag.EscapeLine(line)
	if s.output == nil {
		s.pending = append(s.pending, line)
		return
	}
	s.output(line)
}

// End implements [bridge.Session].
func (s *session) End(ctx context.Context) error {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if !s.ended {
		s.ended = true
		s.endErr = s.endOnNode(ctx)
		if s.cmd != nil {
			s.cmd.Close()
		}
	}
	return s.endErr
}

// endOnNode ends the session on the node. It returns an error if the target is not known
// to be released, or if the session had already ended.
func (s *session) endOnNode(ctx context.Context) error {
	reason, err := s.link.EndSession(ctx)
	switch {
	case errors.Is(err, &diag.Error{Code: diag.LinkLost}) || err != nil && !s.link.IsAlive():
		return diag.Errorf(diag.LinkLost, "the connection to the node was lost; the agent releases the target by itself, after %s at the latest", s.lease).
			WithHint("start the session again once the node can be reached")
	case err != nil:
		return fmt.Errorf("end the session on the node: %w", err)
	case reason != "":
		return fmt.Errorf("the session ended on the node: %s", reason)
	}
	return nil
}
