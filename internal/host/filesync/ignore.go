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

// The names of ignore files. The rules of a dapbridgeIgnore take precedence, wherever
// it is.
const (
	gitIgnore       = ".gitignore"
	dapbridgeIgnore = ".dapbridgeignore"
)

// maxRules bounds the size of an ignore file, in bytes.
const maxRules = 1 << 20

// Ignore decides which entries of one directory are not copied: those that git ignores
// because of .gitignore files and the repository's info/exclude, as amended by
// .dapbridgeignore files, which have the same syntax; and always git's own directory and
// the temporary files of editors. It does not matter whether git tracks a file, nor what
// the user's core.excludesFile says.
//
// An Ignore is immutable and may be used concurrently. After an ignore file has changed,
// load a new Ignore.
type Ignore struct {
	parent *Ignore // nil for the repository's top directory
	path   string  // of the directory, relative to the repository's top: "" or "a/b"
	abs    string
	own    []rule // of .dapbridgeignore
	git    []rule // of .gitignore
	info   []rule // of info/exclude, for the top only
}

// LoadIgnore returns the rules for the entries of dir. If dir is in a git repository, the
// rules above it apply too, but only to what is in dir: whether dir itself is ignored
// does not matter.
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
	rel, err := filepath.Rel(top, abs)
	if err != nil || rel == "." {
		return ig, err
	}
	for name := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		if ig, err = ig.Enter(name); err != nil {
			return nil, err
		}
	}
	return ig, nil
}

// Enter returns the rules for the entries of a subdirectory.
func (ig *Ignore) Enter(name string) (*Ignore, error) {
	sub := &Ignore{parent: ig, path: ig.join(name), abs: filepath.Join(ig.abs, name)}
	return sub, sub.load()
}

// Match reports whether the entry called name is left out. If it is a directory, nothing
// below it is copied either.
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

// relative makes a path below the directory relative to it.
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

// readRules reads an ignore file. A file that does not exist has no rules and, as with
// git, neither has one that is not a regular file.
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
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRules+1))
	if err == nil && len(text) > maxRules {
		err = fmt.Errorf("%s has more than %d bytes", path, maxRules)
	}
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	return parseRules(string(text)), nil
}

// repositoryTop returns the top directory of the git repository that dir is in, or dir
// itself if there is none.
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

// stampOutsideRules returns a string that changes whenever an ignore file outside of dir
// that applies to it changes.
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

// infoExclude returns the path of info/exclude in the repository with the given top
// directory. In a linked worktree or a submodule, .git is a file that names the
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

// readGitFile reads one of git's single-line files.
func readGitFile(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<16 {
		return "", false
	}
	text, err := os.ReadFile(path)
	return strings.TrimRight(string(text), "\r\n"), err == nil
}

// resolvePath resolves a path that is absolute or relative to dir.
func resolvePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
