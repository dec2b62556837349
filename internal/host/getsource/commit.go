package getsource

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/gitrepo"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// getCommit adds a worktree of the recorded commit to the user's repository.
func (c Config) getCommit(ctx context.Context, r *recipe.Recipe) (*Result, error) {
	repository, err := c.repository(ctx)
	switch {
	case err != nil:
		return nil, unavailableError{err}
	case repository == nil:
		return nil, unavailable("%s is in no git repository", c.Root)
	}
	s := r.Source
	has, err := repository.Has(ctx, s.Revision)
	if err != nil {
		return nil, err
	}
	if !has {
		return nil, unavailable("the repository of %s does not contain it", repository.Top)
	}
	worktrees, err := repository.Worktrees(ctx)
	if err != nil {
		return nil, err
	}
	main := repository.Top
	if len(worktrees) > 0 { // the main one comes first
		main = worktrees[0].Dir
	}
	dir, err := c.place(repository.Top, commitName(main, s))
	if err != nil {
		return nil, err
	}
	result := &Result{Dir: dir}
	if ready, err := prepareWorktree(ctx, repository, worktrees, dir, s.Revision); ready || err != nil {
		return result, err
	}
	c.step("checking out %s", s)
	missing, err := repository.AddWorktree(ctx, dir, s.Revision)
	if err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err).WithHint("name another directory with --to, if this one cannot be written")
	}
	for _, m := range missing {
		result.addNote("submodule %s is empty, since the repository does not contain its commit %.12s: git -C %s submodule update --init %s", m.Path, m.Revision, dir, m.Path)
	}
	result.Created = true
	return result, nil
}

// commitName returns the name of a worktree's directory, given the directory of the main
// one: with the version if a release was built, or else with the commit.
func commitName(main string, s recipe.Source) string {
	name := strings.TrimSuffix(filepath.Base(main), ".git")
	if s.Stamp != "" && !module.IsPseudoVersion(s.Stamp) && !strings.Contains(s.Stamp, "+dirty") {
		return name + "@" + s.Stamp
	}
	return fmt.Sprintf("%s-%.8s", name, s.Revision)
}

// prepareWorktree reports whether dir already is a worktree of the commit. It removes what
// a killed run has left there, and fails if anything else is there.
func prepareWorktree(ctx context.Context, repository *gitrepo.Repository, worktrees []gitrepo.Worktree, dir, commit string) (ready bool, err error) {
	for _, w := range worktrees {
		switch {
		case realPath(w.Dir) != realPath(dir):
		case w.Incomplete:
			return false, repository.RemoveWorktree(ctx, w.Dir)
		case w.Commit == commit:
			if _, err := os.Lstat(dir); err == nil {
				return true, nil
			}
			return false, diag.Errorf(diag.SourceExists, "%s was a worktree of %s and is gone", dir, repository.Top).
				WithHint("run git -C %s worktree prune, then this command again", repository.Top)
		default:
			return false, diag.Errorf(diag.SourceExists, "%s is a worktree of another commit, %.12s", dir, w.Commit)
		}
	}
	return false, checkFree(dir)
}

// checkFree returns an error if something has that name.
func checkFree(dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return diag.Errorf(diag.SourceExists, "%s exists, and dapbridge source did not create it", dir)
	}
	return nil
}

// realPath resolves the symbolic links of a path whose last element need not exist.
func realPath(path string) string {
	if parent, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(parent, filepath.Base(path))
	}
	return path
}
