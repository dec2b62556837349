//go:build linux

package supervisor

import (
	"context"
	"path"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// sourceNames are the source files that the last process asked about was
// compiled from: a stack has one question for each of its files.
type sourceNames struct {
	mu    sync.Mutex
	of    process
	names map[string]bool
}

func (s *sourceNames) readSource(_ context.Context, p api.SourceParams) (api.SourceResult, error) {
	if err := s.checkSource(p); err != nil {
		return api.SourceResult{}, api.ToRPC(err)
	}
	text, err := procfs.ReadSource(p.PID, p.File)
	return api.SourceResult{Text: text}, api.ToRPC(err)
}

func (s *sourceNames) readLines(_ context.Context, p api.SourceParams) (api.LinesResult, error) {
	if err := s.checkSource(p); err != nil {
		return api.LinesResult{}, api.ToRPC(err)
	}
	r, err := procfs.InspectExe(p.PID, func(x *exe.File) (api.LinesResult, error) {
		lines, err := x.Lines(p.File)
		if err != nil {
			return api.LinesResult{}, err
		}
		info, err := x.Stat()
		if err != nil {
			return api.LinesResult{}, err
		}
		return api.LinesResult{Lines: lines, Built: info.ModTime(), Age: time.Since(info.ModTime())}, nil
	})
	return r, api.ToRPC(err)
}

// check refuses a file that the process was not compiled from, and a process that
// is another one by now.
func (s *sourceNames) checkSource(p api.SourceParams) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := process{PID: p.PID, StartTicks: p.StartTicks}
	if s.names == nil || s.of != of {
		sources, err := procfs.InspectExe(p.PID, (*exe.File).Sources)
		if err != nil {
			return err
		}
		s.of, s.names = of, map[string]bool{}
		for _, d := range sources.Dirs {
			for _, file := range d.Files {
				s.names[path.Join(d.Dir, file)] = true
			}
		}
	}
	if !of.isAlive() { // and so was not when its sources were read
		s.names = nil
		return diag.Errorf(diag.TargetGone, "process %d has ended", p.PID)
	}
	if !s.names[p.File] {
		return diag.Errorf(diag.SourceMissing, "the target was not compiled from %q", p.File)
	}
	return nil
}
