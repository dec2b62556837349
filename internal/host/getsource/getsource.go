// Package getsource puts the source that a target was built from beside the user's
// workspace: a git worktree of the recorded commit, or a copy of the published version.
// It writes to no working tree of the user's, and runs nothing that the node or the
// repository names.
package getsource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gitrepo"
	"github.com/dapbridge/dapbridge/internal/host/gocmd"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// Config says where the source comes from and where it goes.
type Config struct {
	Root     string            // the user's workspace
	To       string            // the directory for the source; "" for one beside the workspace
	Env      []string          // the user's environment
	Progress func(step string) // is called when a step begins; may be nil
}

// Result says where the source is.
type Result struct {
	Target  *api.Target   `json:"target,omitempty"`
	Source  recipe.Source `json:"source"`
	Dir     string        `json:"dir"`     // absolute
	Module  string        `json:"module"`  // the main module's root in Dir
	Created bool          `json:"created"` // by this call
	// Notes say in what the source differs from what the build had, or may differ.
	Notes []string `json:"notes,omitempty"`
}

// Get puts the source of a node's target beside the workspace. If it is there already,
// Get only says where. The error's code is diag.SourceUnknown, diag.SourceExists or
// diag.WriteFailed, unless the node is to blame; no part of the source is left then.
func Get(ctx context.Context, lc link.Config, c Config) (*Result, error) {
	l, err := link.Dial(ctx, lc)
	if err != nil {
		return nil, err
	}
	t, err := l.Target(ctx)
	var o exe.Origin
	if err == nil {
		o, err = l.Origin(ctx)
	}
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	r, err := c.Get(ctx, &o)
	if err != nil {
		return nil, err
	}
	r.Target = &t
	return r, nil
}

// Get is the function Get for an executable, given its origin.
func (c Config) Get(ctx context.Context, o *exe.Origin) (*Result, error) {
	r, modified, err := recipe.Locate(o)
	if err != nil {
		return nil, err
	}
	result, err := c.getFirst(ctx, r)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	if modified {
		result.addNote("the target was built with uncommitted changes, which this commit lacks")
	}
	if result.Module, err = gocmd.FindModule(result.Dir, o.ModulePath); err != nil {
		result.addNote("%v", err)
		result.Module = result.Dir
	}
	result.noteDirectories(r, o)
	return result, nil
}

// getFirst gets the first of the sources that can be had.
func (c Config) getFirst(ctx context.Context, r *recipe.Recipe) (*Result, error) {
	var tried []string
	for _, s := range r.Sources() {
		get := c.getVersion
		switch {
		case s.Tree:
			continue // the workspace itself
		case s.Revision != "":
			get = c.getCommit
		}
		result, err := get(ctx, r.WithSource(s))
		if err == nil {
			result.Source = s
			result.Source.Deps = nil // the caller has no use for them
			return result, nil
		}
		if !errors.As(err, new(unavailableError)) {
			return nil, err
		}
		tried = append(tried, fmt.Sprintf("%s: %v", s, err))
	}
	if len(tried) == 0 {
		return nil, diag.Errorf(diag.SourceUnknown, "the target records neither a commit nor a published version").
			WithHint("it was built from a directory as it was then, or with -buildvcs=false")
	}
	return nil, diag.Errorf(diag.SourceUnknown, "the source that the target was built from cannot be had: %s", strings.Join(tried, "; "))
}

// unavailableError says why a source cannot be had, so that another is tried.
type unavailableError struct{ error }

func unavailable(format string, args ...any) error {
	return unavailableError{fmt.Errorf(format, args...)}
}

// step reports that a step begins.
func (c Config) step(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

func (r *Result) addNote(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// repository returns the repository around the workspace, nil if there is none.
func (c Config) repository(ctx context.Context) (*gitrepo.Repository, error) {
	repository, err := gitrepo.Open(ctx, c.Env, c.Root)
	if errors.Is(err, gitrepo.ErrNoRepository) {
		return nil, nil
	}
	return repository, err
}

// place returns the directory for the source: c.To, or name in the directory that
// contains the workspace.
func (c Config) place(workspace, name string) (string, error) {
	if c.To != "" {
		return filepath.Abs(c.To)
	}
	parent := filepath.Dir(workspace)
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return "", diag.Errorf(diag.WriteFailed, "%s is no directory", parent).WithHint("name a directory with --to")
	}
	return filepath.Join(parent, name), nil
}
