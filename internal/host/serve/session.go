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

// session is a debug session on the node, as the bridge sees it.
type session struct {
	link   *link.Link
	token  string
	lease  time.Duration
	cmd    *remote.Cmd // its channel
	target api.Target
	paths  *pathmap.Map

	files *source.Files

	outputMu sync.Mutex
	output   func(string) // nil before Tell and after the end
	pending  []string     // before Tell

	endMu  sync.Mutex
	ended  bool
	endErr error
}

func (s *session) Read(p []byte) (int, error)  { return s.cmd.Stdout.Read(p) }
func (s *session) Write(p []byte) (int, error) { return s.cmd.Stdin.Write(p) }
func (s *session) Map() *pathmap.Map           { return s.paths }
func (s *session) Sources() bridge.SourceFiles { return s.files }

func (s *session) Target() bridge.TargetInfo {
	t := bridge.TargetInfo{Name: path.Base(s.target.Exe), PID: s.target.PID}
	if s.target.Build.Stripped {
		t.Note = optimisedNote
	}
	return t
}

// Notify implements [bridge.Session].
func (s *session) Notify(line func(string)) {
	s.outputMu.Lock()
	defer s.outputMu.Unlock()
	s.output = line
	for _, text := range s.pending {
		line(text)
	}
	s.pending = nil
}

// say has the user told a line. Besides one on the target's Go, fetching alone
// says something, so that there are few more lines than modules.
func (s *session) tellUser(text string) {
	s.outputMu.Lock()
	defer s.outputMu.Unlock()
	text = diag.Escape(text)
	if s.output == nil {
		s.pending = append(s.pending, text)
		return
	}
	s.output(text)
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

func (s *session) endOnNode(ctx context.Context) error {
	reason, err := s.link.EndSession(ctx)
	switch {
	case errors.Is(err, &diag.Error{Code: diag.LinkLost}) || err != nil && !s.link.IsAlive():
		return diag.Errorf(diag.LinkLost, "the connection to the node was lost; the agent there lets the target go by itself, at the latest after %s", s.lease).
			WithHint("start the session again when the node can be reached")
	case err != nil:
		return fmt.Errorf("end the session on the node: %w", err)
	case reason != "":
		return fmt.Errorf("the session ended on the node: %s", reason)
	}
	return nil
}
