package filesync

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// The files that hold rules. Those of dapbridgeIgnore come first, wherever they
// stand.
const (
	gitIgnore       = ".gitignore"
	dapbridgeIgnore = ".dapbridgeignore"
)

// maxRules bounds a file of rules, in bytes.
const maxRules = 1 << 20

// Ignore says what of one directory's entries is not copied: what git ignores
// by .gitignore files and the repository's info/exclude, less or more what
// .dapbridgeignore files say in the same language; and always git's own
// directory and what editors leave for a moment. That git tracks a file does not
// count, nor does the user's core.excludesFile.
//
// An Ignore does not change and may be used from several goroutines. After a
// change of a file of rules a new one is loaded.
type Ignore struct {
	parent *Ignore // nil for the repository's top directory
	path   string  // the directory's, from the repository's top: "" or "a/b"
	abs    string
	own    []rule // of .dapbridgeignore
	git    []rule // of .gitignore
	info   []rule // of info/exclude, which only a top has
}

// LoadIgnore returns the rules for the entries of dir. If it stands in a git
// repository, the rules above it count too, as far as they concern what is in
// dir: whether dir itself is ignored does not matter.
func LoadIgnore(dir string) (*Ignore, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	top := repositoryTop(abs)
	ig := &Ignore{abs: top}
	if ig.info, err = readRules(infoExclude(top)); err != nil {
		return nil, err
	}
	if err := ig.load(); err != nil {
		return nil, err
	}
	below, err := filepath.Rel(top, abs)
	if err != nil || below == "." {
		return ig, err
	}
	for name := range strings.SplitSeq(filepath.ToSlash(below), "/") {
		if ig, err = ig.Enter(name); err != nil {
			return nil, err
		}
	}
	return ig, nil
}

// Enter returns the rules for the entries of the subdirectory of that name.
func (ig *Ignore) Enter(name string) (*Ignore, error) {
	sub := &Ignore{parent: ig, path: ig.join(name), abs: filepath.Join(ig.abs, name)}
	return sub, sub.load()
}

// Match reports whether the entry of that name is not copied. Nothing below a
// directory is, of which that is so.
func (ig *Ignore) Match(name string, isDir bool) bool {
	if isNeverCopied(name, isDir) {
		return true
	}
	path := ig.join(name)
	for at := ig; at != nil; at = at.parent {
		if ignored, decided := decide(at.own, at.relative(path), isDir); decided {
			return ignored
		}
	}
	top := ig
	for at := ig; at != nil; top, at = at, at.parent {
		if ignored, decided := decide(at.git, at.relative(path), isDir); decided {
			return ignored
		}
	}
	ignored, _ := decide(top.info, path, isDir)
	return ignored
}

func (ig *Ignore) join(name string) string { return tree.Join(ig.path, name) }

// relative returns the path of something in the directory, from there.
func (ig *Ignore) relative(path string) string {
	if ig.path == "" {
		return path
	}
	return path[len(ig.path)+1:]
}

func (ig *Ignore) load() (err error) {
	if ig.git, err = readRules(filepath.Join(ig.abs, gitIgnore)); err != nil {
		return err
	}
	ig.own, err = readRules(filepath.Join(ig.abs, dapbridgeIgnore))
	return err
}

// readRules reads a file of rules. One that is not there has none; nor has, as
// for git, one that is no regular file.
func readRules(path string) ([]rule, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("what is not to be copied is not known: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRules+1))
	if err == nil && len(text) > maxRules {
		err = fmt.Errorf("%s has more than %d bytes", path, maxRules)
	}
	if err != nil {
		return nil, fmt.Errorf("what is not to be copied is not known: %w", err)
	}
	return parseRules(string(text)), nil
}

// repositoryTop returns the top directory of the git repository that dir is in,
// or dir if it is in none.
func repositoryTop(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// stampOutsideRules returns a stamp of the rules for dir that do not stand in it: another
// one when they have changed.
func stampOutsideRules(dir string) string {
	top := repositoryTop(dir)
	files := []string{infoExclude(top)}
	for at := dir; at != top; {
		at = filepath.Dir(at)
		files = append(files, filepath.Join(at, gitIgnore), filepath.Join(at, dapbridgeIgnore))
	}
	var stamp strings.Builder
	for _, path := range files {
		if info, err := os.Lstat(path); err == nil {
			fmt.Fprintf(&stamp, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
	}
	return stamp.String()
}

// infoExclude returns the path of info/exclude of the repository whose top directory
// is top. In a linked worktree or a submodule .git is a file that names the
// repository (gitrepository-layout(5)).
func infoExclude(top string) string {
	dir := filepath.Join(top, ".git")
	if text, ok := readGitFile(dir); ok {
		if named, ok := strings.CutPrefix(text, "gitdir: "); ok {
			dir = resolvePath(top, named)
		}
	}
	if common, ok := readGitFile(filepath.Join(dir, "commondir")); ok {
		dir = resolvePath(dir, common)
	}
	return filepath.Join(dir, "info", "exclude")
}

// readGitFile reads a file of git's that holds one name.
func readGitFile(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<16 {
		return "", false
	}
	text, err := os.ReadFile(path)
	return strings.TrimRight(string(text), "\r\n"), err == nil
}

// resolvePath returns the path that is written relative to dir, or absolute.
func resolvePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
