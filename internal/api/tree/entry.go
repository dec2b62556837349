// Package tree describes the entries of a tree of files.
//
// Paths are slash-separated and relative to the tree's top directory, which has no
// path itself.
package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is the type of an entry. Only these types are copied.
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

// Entry describes what is at a path of a tree.
type Entry struct {
	Path   string
	Kind   Kind
	Perm   uint32 // as in chmod(2), of a file or directory
	Size   int64  // bytes of a file
	MTime  int64  // of a file, in nanoseconds since 1970
	Target string // of a symbolic link
}

// PermBits are the mode bits that are copied: not set-user-ID, set-group-ID, which
// would give a program another user's rights, or sticky.
const PermBits = 0o777

// Lstat describes what is at path in the tree under root. For a type that is not
// copied, it returns an entry of the kind Nothing and no error; if nothing is there, it
// returns an error.
func Lstat(root *os.Root, path string) (Entry, error) {
	info, err := root.Lstat(filepath.FromSlash(path))
	if err != nil {
		return Entry{Path: path}, err
	}
	return NewEntry(root, path, info)
}

// NewEntry is [Lstat] for a path whose info is known. It reads the target of a
// symbolic link.
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

// Matches reports whether two entries have the same kind and content, as far as that
// shows without reading the content. Paths and permissions are not compared.
func (e Entry) Matches(o Entry) bool {
	return e.Kind == o.Kind && e.Size == o.Size && e.MTime == o.MTime && e.Target == o.Target
}

// Problem is a path that could not be processed, and why.
type Problem struct {
	Path string
	Err  error
}

// ReadDir returns the entries of a directory of the tree, unsorted; path is empty for
// the top. Entries that disappear meanwhile are left out.
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

// Join returns the path of an entry of dir, which is empty for the top.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Manifest lists the entries of a tree in the order of [Compare].
type Manifest []Entry

// Compare orders paths so that a directory is directly followed by its content.
func Compare(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// Sort sorts a manifest by path.
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
