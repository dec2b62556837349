// Package gitrepo reads git repositories that nobody has inspected, and checks commits
// out of them. Nothing that such a repository names is run: no hook, file system
// monitor, filter, pager or transport.
package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/procgroup"
)

// Run runs git in a directory and returns its standard output. env is the user's
// environment; nil stands for that of this process. The error is the end of git's
// standard error.
func Run(ctx context.Context, env []string, dir string, args ...string) (string, error) {
	if env == nil {
		env = new(exec.Cmd).Environ()
	}
	return run(ctx, append(withoutGit(env), "GIT_OPTIONAL_LOCKS=0"), dir, args...)
}

// withoutGit removes git's own variables: if a git hook or alias started us, they name
// another repository.
func withoutGit(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(strings.ToUpper(v), "GIT_") })
}

// run runs git with variables that may contain some of git's own.
func run(ctx context.Context, env []string, dir string, args ...string) (string, error) {
	args = slices.Concat([]string{
		"-c", "core.hooksPath=" + os.DevNull, "-c", "core.fsmonitor=false", "-c", "protocol.allow=never",
		"-c", "log.showSignature=false", "-c", "submodule.recurse=false", "-c", "advice.detachedHead=false",
		"--no-pager", "--literal-pathspecs",
	}, args)
	env = append(slices.Clone(env), "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	out, err := procgroup.Output(ctx, dir, env, "git", args...)
	return string(out), err
}

// ErrNoRepository means that a directory is in no git repository.
var ErrNoRepository = errors.New("not in a git repository")

// Repository is a git repository of the user's.
type Repository struct {
	Top string // of the working tree; a bare repository's own directory

	env     []string // the user's environment
	dir     string   // in the repository, where git runs
	objects string   // directory of its objects
	modules []string // directories of its submodules' repositories
}

// Open returns the repository that dir is in, and [ErrNoRepository] if it is in none. env
// is the user's environment.
func Open(ctx context.Context, env []string, dir string) (*Repository, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, err
	}
	r := &Repository{env: env, dir: dir}
	common, err := r.path(ctx, "--git-common-dir")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRepository, err)
	}
	if r.objects, err = r.path(ctx, "--git-path", "objects"); err != nil {
		return nil, err
	}
	own, err := r.path(ctx, "--git-dir")
	if err != nil {
		return nil, err
	}
	r.modules = []string{filepath.Join(own, "modules"), filepath.Join(common, "modules")}
	if r.Top, err = r.path(ctx, "--show-toplevel"); err != nil {
		r.Top = common
	}
	return r, nil
}

// path returns a path that git rev-parse prints.
func (r *Repository) path(ctx context.Context, args ...string) (string, error) {
	out, err := Run(ctx, r.env, r.dir, append([]string{"rev-parse", "--path-format=absolute"}, args...)...)
	return filepath.FromSlash(strings.TrimSuffix(out, "\n")), err
}

// Has reports whether the repository contains a commit, which is given by its full hash.
func (r *Repository) Has(ctx context.Context, commit string) (bool, error) {
	_, err := Run(ctx, r.env, r.dir, "cat-file", "-e", commit+"^{commit}")
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil, nil
}
