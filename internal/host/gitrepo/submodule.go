package gitrepo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Submodule is a submodule of a commit.
type Submodule struct {
	Path     string `json:"path"`     // in the working tree, with slashes
	Revision string `json:"revision"` // the commit's hash
}

// fillSubmodules writes the files of the tree's submodules, and of theirs in turn. It
// takes them from the repositories in the directories modules, or from those in the
// user's working tree top; it contacts no server. It returns those that are in neither.
//
// A submodule's directory becomes no repository of its own: to git it looks as if the
// submodule had not been initialised.
func (t tree) fillSubmodules(ctx context.Context, modules []string, top string) (missing []Submodule, err error) {
	list, err := t.submodules(ctx)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	names, err := t.submoduleNames(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		path := filepath.FromSlash(s.Path)
		repositories := []string{filepath.Join(top, path, ".git")}
		if name := filepath.FromSlash(names[s.Path]); filepath.IsLocal(name) {
			for _, dir := range modules {
				repositories = append(repositories, filepath.Join(dir, name))
			}
		}
		more, err := t.fillSubmodule(ctx, s, repositories, filepath.Join(top, path))
		if err != nil {
			return nil, fmt.Errorf("submodule %s: %w", s.Path, err)
		}
		missing = append(missing, more...)
	}
	return missing, nil
}

// fillSubmodule writes the files of one submodule from the first of the repositories that
// contains its commit; top is its directory in the user's working tree.
func (t tree) fillSubmodule(ctx context.Context, s Submodule, repositories []string, top string) ([]Submodule, error) {
	path := filepath.FromSlash(s.Path)
	dir := filepath.Join(t.dir, path)
	if real, err := filepath.EvalSymlinks(dir); err != nil || real != filepath.Join(realPath(t.dir), path) {
		return nil, fmt.Errorf("%s is no directory", dir)
	}
	var modules []string
	for _, repository := range repositories {
		modules = append(modules, filepath.Join(repository, "modules"))
	}
	for _, repository := range repositories {
		objects := filepath.Join(repository, "objects")
		if info, err := os.Stat(objects); err != nil || !info.IsDir() {
			continue
		}
		sub, remove, err := newTreeIn(ctx, t.env, objects, s.Revision, dir, "")
		if err != nil {
			return nil, err
		}
		defer remove()
		if _, err := sub.git(ctx, "cat-file", "-e", s.Revision+"^{commit}"); err != nil {
			continue
		}
		missing, err := sub.fill(ctx, s.Revision, modules, top)
		for i := range missing {
			missing[i].Path = s.Path + "/" + missing[i].Path
		}
		return missing, err
	}
	return []Submodule{s}, ctx.Err()
}

// submodules returns the submodules in the tree's index, whose paths git has checked.
func (t tree) submodules(ctx context.Context) ([]Submodule, error) {
	out, err := t.git(ctx, "ls-files", "--stage", "-z")
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var list []Submodule
	for entry := range strings.SplitSeq(out, "\x00") { // MODE OBJECT STAGE\tPATH
		head, path, _ := strings.Cut(entry, "\t")
		if f := strings.Fields(head); len(f) == 3 && f[0] == "160000" {
			list = append(list, Submodule{Path: path, Revision: f[1]})
		}
	}
	return list, nil
}

// submoduleNames returns the name of the submodule at each path, according to the
// commit's .gitmodules.
func (t tree) submoduleNames(ctx context.Context) (map[string]string, error) {
	file := filepath.Join(t.dir, ".gitmodules")
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	out, err := t.git(ctx, "config", "--file", file, "--null", "--list")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	names := map[string]string{}
	for entry := range strings.SplitSeq(out, "\x00") { // submodule.NAME.path\nPATH
		key, path, _ := strings.Cut(entry, "\n")
		name, ok := strings.CutPrefix(key, "submodule.")
		if name, isPath := strings.CutSuffix(name, ".path"); ok && isPath {
			names[path] = name
		}
	}
	return names, nil
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
