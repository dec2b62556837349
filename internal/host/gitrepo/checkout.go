package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// tree is a working tree that is filled from a repository of ours, which borrows the
// user's objects. So the user's repository, with its filters and attributes, has no say
// in what is written, nor have replacement refs.
type tree struct {
	dir string   // working tree, where git runs
	env []string // of git; names the repository unless it is in dir
}

// CheckOut checks a commit, which is given by its full hash, out into a new repository in
// dir, which must not exist. The new repository borrows the user's objects. Its
// submodules are filled as far as the user's repository contains them; those that could
// not be are returned.
func (r *Repository) CheckOut(ctx context.Context, dir, commit string) ([]Submodule, error) {
	t, err := newTree(ctx, r.env, r.objects, commit, dir)
	if err != nil {
		return nil, err
	}
	if _, err := t.git(ctx, "config", "core.autocrlf", "false"); err != nil { // the user's own git sees the files as they are
		return nil, fmt.Errorf("git config: %w", err)
	}
	return t.fill(ctx, commit, r.modules, r.Top)
}

// newTree makes a repository in dir, which must not exist, that borrows objects.
func newTree(ctx context.Context, env []string, objects, commit, dir string) (tree, error) {
	env = append(withoutGit(env), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	_, err := run(ctx, env, filepath.Dir(dir), "init", "--quiet", "--template=", "--initial-branch=dapbridge", "--object-format="+objectFormat(commit), dir)
	if err != nil {
		return tree{}, fmt.Errorf("git init: %w", err)
	}
	return tree{dir, env}, borrowObjects(filepath.Join(dir, ".git"), objects)
}

// newTreeIn is newTree for a directory that exists and in which no repository is made:
// that is elsewhere, until remove is called. index is the path of the index, "" for a
// temporary one.
func newTreeIn(ctx context.Context, env []string, objects, commit, dir, index string) (t tree, remove func(), err error) {
	tmp, err := os.MkdirTemp("", "dapbridge-git-")
	if err != nil {
		return tree{}, nil, err
	}
	remove = func() { os.RemoveAll(tmp) }
	repository := filepath.Join(tmp, "repository")
	if t, err = newTree(ctx, env, objects, commit, repository); err != nil {
		remove()
		return tree{}, nil, err
	}
	gitDir := filepath.Join(repository, ".git")
	if index == "" {
		index = filepath.Join(gitDir, "index")
	}
	return tree{dir, append(t.env, "GIT_DIR="+gitDir, "GIT_WORK_TREE="+dir, "GIT_INDEX_FILE="+index)}, remove, nil
}

// fill checks the commit out and fills its submodules, see fillSubmodules.
func (t tree) fill(ctx context.Context, commit string, modules []string, top string) ([]Submodule, error) {
	if _, err := t.git(ctx, "checkout", "--quiet", "--force", "--detach", commit); err != nil {
		return nil, fmt.Errorf("git checkout: %w", err)
	}
	return t.fillSubmodules(ctx, modules, top)
}

func (t tree) git(ctx context.Context, args ...string) (string, error) {
	return run(ctx, t.env, t.dir, args...)
}

// objectFormat returns the hash algorithm of a repository that has the commit.
func objectFormat(commit string) string {
	if len(commit) == 64 {
		return "sha256"
	}
	return "sha1"
}

// borrowObjects lets a repository use objects of another one (gitrepository-layout,
// objects/info/alternates). If that is a shallow clone, this becomes one too.
func borrowObjects(gitDir, objects string) error {
	info := filepath.Join(gitDir, "objects", "info")
	if err := os.MkdirAll(info, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(info, "alternates"), []byte(filepath.ToSlash(objects)+"\n"), 0o600); err != nil {
		return err
	}
	shallow, err := os.ReadFile(filepath.Join(filepath.Dir(objects), "shallow"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(gitDir, "shallow"), shallow, 0o600)
}
