package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// incomplete is the reason for which a worktree is locked until it is complete.
const incomplete = "dapbridge is checking it out"

// changeTimeout bounds one command that changes a repository's list of worktrees.
const changeTimeout = time.Minute

// Worktree is a worktree of a repository.
type Worktree struct {
	Dir        string
	Commit     string // that it has checked out
	Incomplete bool   // [Repository.AddWorktree] was killed while it filled this one
}

// Worktrees returns the worktrees of the repository.
func (r *Repository) Worktrees(ctx context.Context) ([]Worktree, error) {
	out, err := Run(ctx, r.env, r.dir, "worktree", "list", "--porcelain", "-z")
	if err != nil {
		return nil, fmt.Errorf("git worktree list: %w", err)
	}
	var list []Worktree
	for line := range strings.SplitSeq(out, "\x00") { // KEY[ VALUE]
		key, value, _ := strings.Cut(line, " ")
		switch last := len(list) - 1; {
		case key == "worktree":
			list = append(list, Worktree{Dir: value})
		case last < 0:
		case key == "HEAD":
			list[last].Commit = value
		case key == "locked":
			list[last].Incomplete = value == incomplete
		}
	}
	return list, nil
}

// AddWorktree adds a worktree in dir, which must not exist, and checks a commit out in
// it, which is given by its full hash. The files are written as CheckOut does; those
// submodules are returned that could not be filled. If AddWorktree fails, nothing is
// left of the worktree.
func (r *Repository) AddWorktree(ctx context.Context, dir, commit string) (missing []Submodule, err error) {
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%s exists", dir)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.RemoveWorktree(ctx, dir))
		}
	}()
	if err := r.change(ctx, "worktree", "add", "--quiet", "--no-checkout", "--detach", "--lock", "--reason", incomplete, dir, commit); err != nil {
		return nil, err
	}
	index, err := Run(ctx, r.env, dir, "rev-parse", "--path-format=absolute", "--git-path", "index")
	if err != nil {
		return nil, err
	}
	t, remove, err := newTreeIn(ctx, r.env, r.objects, commit, dir, strings.TrimSuffix(index, "\n"))
	if err != nil {
		return nil, err
	}
	defer remove()
	if missing, err = t.fill(ctx, commit, r.modules, r.Top); err != nil {
		return nil, err
	}
	return missing, r.change(ctx, "worktree", "unlock", dir)
}

// RemoveWorktree removes a worktree with all of its files, even if ctx has ended.
func (r *Repository) RemoveWorktree(ctx context.Context, dir string) error {
	err := os.RemoveAll(dir)
	list, listErr := r.Worktrees(context.WithoutCancel(ctx))
	if err = errors.Join(err, listErr); err != nil {
		return err
	}
	for _, w := range list {
		if w.Dir == dir || w.Dir == filepath.Join(realPath(filepath.Dir(dir)), filepath.Base(dir)) {
			return r.change(ctx, "worktree", "remove", "--force", "--force", dir) // twice, since it may be locked
		}
	}
	return nil
}

// change runs a command of git that changes the repository, and would run hooks. It
// completes even if ctx ends: git leaves a half of a worktree when it is killed.
func (r *Repository) change(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	disabled, err := r.disableHooks(ctx)
	if err != nil {
		return err
	}
	if _, err := Run(ctx, r.env, r.dir, slices.Concat(disabled, args)...); err != nil {
		return fmt.Errorf("git %s %s: %w", args[0], args[1], err)
	}
	return nil
}

// disableHooks returns options that disable the hooks in the configuration, which git has
// had since 2.54 (git-config, hook.<name>.enabled).
func (r *Repository) disableHooks(ctx context.Context) ([]string, error) {
	out, err := Run(ctx, r.env, r.dir, "config", "--null", "--name-only", "--list")
	if err != nil {
		return nil, fmt.Errorf("git config: %w", err)
	}
	var options []string
	for key := range strings.SplitSeq(out, "\x00") {
		name, ok := strings.CutPrefix(key, "hook.")
		end := strings.LastIndexByte(name, '.')
		if !ok || end < 0 {
			continue
		}
		if strings.Contains(name[:end], "=") {
			return nil, fmt.Errorf("the repository's configuration names a hook %q, which git cannot be told to leave out", name[:end])
		}
		options = append(options, "-c", "hook."+name[:end]+".enabled=false")
	}
	return options, nil
}
