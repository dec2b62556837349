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

// sourceNames caches the names of the source files of the process in the last request:
// showing a stack takes one request for each of its files.
type sourceNames struct {
	mu    sync.Mutex
	proc  process
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

// checkSource refuses a file that the process was not compiled from, and a process
// that has exited.
func (s *sourceNames) checkSource(p api.SourceParams) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	proc := process{PID: p.PID, StartTicks: p.StartTicks}
	if s.names == nil || s.proc != proc {
		sources, err := procfs.InspectExe(p.PID, (*exe.File).Sources)
		if err != nil {
			return err
		}
		s.proc, s.names = proc, map[string]bool{}
		for _, d := range sources.Dirs {
			for _, file := range d.Files {
				s.names[path.Join(d.Dir, file)] = true
			}
		}
	}
	if !proc.isAlive() { // so the names may be those of another process
		s.names = nil
		return diag.Errorf(diag.TargetGone, "process %d has ended", p.PID)
	}
	if !s.names[p.File] {
		return diag.Errorf(diag.SourceMissing, "the target was not compiled from %q", p.File)
	}
	return nil
}
