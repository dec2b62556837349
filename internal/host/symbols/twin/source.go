package twin

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/gitrepo"
	"github.com/dapbridge/dapbridge/internal/host/gocmd"
)

// source says where the source is on the host.
type source struct {
	dir    string // of go.mod, where the go command runs
	module string // the target's main module
	tree   string // the repository of the main module, "" if it has none
}

// prepareSource puts the source into a directory of ours, so that nothing is written to
// the user's.
func (j *job) prepareSource(ctx context.Context) (source, error) {
	dir := filepath.Join(j.work, "src")
	if err := errors.Join(removeAll(dir), removeAll(filepath.Join(j.work, "twin"))); err != nil { // of another source
		return source{}, buildError("%w", err)
	}
	src, err := j.fetchSource(ctx, dir)
	if err == nil && j.recipe.Workspace {
		j.goCommand.Env = append(slices.Clone(j.goCommand.Env), "GOWORK="+workspaceAbove(src.dir, dir))
	}
	return src, err
}

// workspaceAbove returns the value of GOWORK for a directory: the nearest go.work
// from dir up to root, or "off" if there is none.
func workspaceAbove(dir, root string) string {
	for ; ; dir = filepath.Dir(dir) {
		file := filepath.Join(dir, "go.work")
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
		if dir == root || dir == filepath.Dir(dir) {
			return "off"
		}
	}
}

func (j *job) fetchSource(ctx context.Context, dir string) (source, error) {
	switch s := j.recipe.Source; {
	case s.Clone:
		return j.copyPublished(ctx, dir)
	case s.Version != "":
		return j.writeModule(dir)
	case s.Revision != "":
		return j.checkout(ctx, dir)
	}
	root, err := moduleAbove(j.dir, j.recipe.Source.Module)
	if err != nil {
		return source{}, err
	}
	if err := gocmd.CopyTree(ctx, root, dir, j.Dir); err != nil {
		return source{}, buildError("%w", err)
	}
	return source{dir: dir, module: dir}, nil
}

// copyPublished copies a published version, which then is the main module, like the
// clone that the target was built in.
func (j *job) copyPublished(ctx context.Context, dir string) (source, error) {
	s := j.recipe.Source
	if err := j.goCommand.CopyModule(ctx, module.Version{Path: s.Module, Version: s.Version}, dir); err != nil {
		return source{}, buildError("%w", err)
	}
	if j.recipe.Vendored {
		if err := j.goCommand.Vendor(ctx, dir); err != nil {
			return source{}, buildError("%w", err)
		}
	}
	return source{dir: dir, module: dir}, nil
}

// writeModule writes a module that requires exactly the target's modules.
func (j *job) writeModule(dir string) (source, error) {
	s := j.recipe.Source
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return source{}, buildError("%w", err)
	}
	mod, err := j.recipe.GoMod()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600)
	}
	if err != nil {
		return source{}, buildError("%w", err)
	}
	inCache, err := j.goCommand.ModuleDir(module.Version{Path: s.Module, Version: s.Version})
	if err != nil {
		return source{}, buildError("%w", err)
	}
	return source{dir: dir, module: inCache}, nil
}

// checkout checks out the commit in a repository of our own that borrows the user's
// objects. Unlike git worktree, this does not write to the user's repository.
func (j *job) checkout(ctx context.Context, dir string) (source, error) {
	rev := j.recipe.Source.Revision
	repository, err := j.findRepository(ctx, rev)
	if err != nil {
		return source{}, err
	}
	missing, err := repository.CheckOut(ctx, dir, rev)
	if err != nil {
		return source{}, buildError("%w", err)
	}
	for _, s := range missing {
		j.Log.Warn("the source lacks a submodule, which the repository does not contain", "path", s.Path, "commit", s.Revision)
	}
	root, err := gocmd.FindModule(dir, j.recipe.Source.Module)
	if err != nil {
		return source{}, buildError("%w", err)
	}
	if tag, at := j.recipe.StampTag(); tag != "" {
		if _, err := gitrepo.Run(ctx, j.Env, dir, "tag", "--no-sign", tagPrefix(dir, root)+tag, at); err != nil {
			j.Log.Debug("cannot tag the version", "tag", tag, "error", err) // the proof shows whether it matters
		}
	}
	return source{root, root, dir}, nil
}

// findRepository returns the user's repository. It fails if that lacks the commit.
func (j *job) findRepository(ctx context.Context, rev string) (*gitrepo.Repository, error) {
	repository, err := gitrepo.Open(ctx, j.Env, j.dir)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, buildError("the target was built at commit %s, and git is needed to check it out: %w", rev, err)
	case err != nil:
		return nil, buildError("the target was built at commit %s, but %s is not in a git repository (%w)", rev, j.dir, err)
	}
	has, err := repository.Has(ctx, rev)
	if err == nil && !has {
		err = diag.Errorf(diag.TwinBuild, "the target was built at commit %s, which the repository of %s does not contain", rev, j.dir).
			WithHint("git -C %s fetch --tags, or fetch that commit by its hash", j.dir)
	}
	return repository, err
}

// tagPrefix returns what precedes the version in the tags of a module that is not at
// the repository's root (https://go.dev/ref/mod#vcs-version).
func tagPrefix(repository, root string) string {
	rel, err := filepath.Rel(repository, root)
	if err != nil {
		return ""
	}
	rel = filepath.ToSlash(rel) + "/"
	if cut := regexp.MustCompile(`(^|/)v[0-9]+/$`).FindStringIndex(rel); cut != nil {
		rel = rel[:cut[0]] + "/"
	}
	return strings.TrimPrefix(strings.TrimPrefix(rel, "./"), "/")
}

// moduleAbove returns the root of the module, which must be dir or a parent of it.
func moduleAbove(dir, path string) (string, error) {
	for root := dir; ; root = filepath.Dir(root) {
		if data, err := os.ReadFile(filepath.Join(root, "go.mod")); err == nil && modfile.ModulePath(data) == path {
			return root, nil
		}
		if root == filepath.Dir(root) {
			return "", buildError("%s is not in the target's module %s", dir, path)
		}
	}
}
