// Package tree says what stands at the paths of a tree of files.
//
// Paths are slash-separated and relative to the tree's top directory, which has
// none itself.
package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is what stands at a path. Other things than these are not copied.
type Kind byte

// The kinds.
const (
	Nothing Kind = iota
	File
	Dir
	Link // a symbolic link
)

func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Link:
		return "symbolic link"
	}
	return "nothing"
}

// Entry is what stands at a path of a tree.
type Entry struct {
	Path   string
	Kind   Kind
	Perm   uint32 // as in chmod(2), of a file or directory
	Size   int64  // bytes of a file
	MTime  int64  // of a file, in nanoseconds since 1970
	Target string // of a link
}

// PermBits are the mode bits that are copied. Those that give a program
// another's rights are none of them, nor is the sticky one.
const PermBits = 0o777

// Look returns what stands at path in the tree under root. Something of which
// there is no kind is Nothing, as what is not there is, but that is also an
// error.
func Lstat(root *os.Root, path string) (Entry, error) {
	info, err := root.Lstat(filepath.FromSlash(path))
	if err != nil {
		return Entry{Path: path}, err
	}
	return NewEntry(root, path, info)
}

// Describe is [Look] for a path of which the information is known. It reads
// where a link leads to.
func NewEntry(root *os.Root, path string, info fs.FileInfo) (Entry, error) {
	e := Entry{Path: path}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		e.Kind, e.Perm, e.Size, e.MTime = File, uint32(mode)&PermBits, info.Size(), info.ModTime().UnixNano()
	case mode.IsDir():
		e.Kind, e.Perm = Dir, uint32(mode)&PermBits
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(filepath.FromSlash(path))
		if err != nil {
			return e, err
		}
		e.Kind, e.Target = Link, target
	}
	return e, nil
}

// Same reports whether two entries are of the same kind and content, as far as
// that can be seen without reading it. Paths and permissions don't count.
func (e Entry) Matches(o Entry) bool {
	return e.Kind == o.Kind && e.Size == o.Size && e.MTime == o.MTime && e.Target == o.Target
}

// Problem is a path that could not be dealt with, and why.
type Problem struct {
	Path string
	Err  error
}

// ReadDir returns what a directory of the tree holds, in no order; path may be
// empty for the top. What vanishes meanwhile is left out.
func ReadDir(root *os.Root, path string) ([]fs.FileInfo, error) {
	if path == "" {
		path = "."
	}
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdir(-1)
}

// Join returns the path of an entry of a directory, whose path may be empty.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Manifest is what a tree holds, sorted by path as [Compare] does it: a
// directory stands before what it holds.
type Manifest []Entry

// Compare orders paths so that a directory's content follows it.
func Compare(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// Sort brings a manifest into its order.
func (m Manifest) Sort() {
	slices.SortFunc(m, func(a, b Entry) int { return Compare(a.Path, b.Path) })
}

// Find returns the entry at path.
func (m Manifest) Find(path string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(m, path, func(e Entry, path string) int { return Compare(e.Path, path) })
	if !ok {
		return Entry{Path: path}, false
	}
	return m[i], true
}
