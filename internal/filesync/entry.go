package filesync

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

// permBits are the mode bits that are copied. Those that give a program
// another's rights are none of them, nor is the sticky one.
const permBits = 0o777

// look returns what stands at path in the tree under root, for which a kind of
// Nothing may be the answer, or that something of another kind does.
func look(root *os.Root, path string) (Entry, error) {
	info, err := root.Lstat(filepath.FromSlash(path))
	if err != nil {
		return Entry{Path: path}, err
	}
	return entry(root, path, info)
}

func entry(root *os.Root, path string, info fs.FileInfo) (Entry, error) {
	e := Entry{Path: path}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		e.Kind, e.Perm, e.Size, e.MTime = File, uint32(mode)&permBits, info.Size(), info.ModTime().UnixNano()
	case mode.IsDir():
		e.Kind, e.Perm = Dir, uint32(mode)&permBits
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(filepath.FromSlash(path))
		if err != nil {
			return e, err
		}
		e.Kind, e.Target = Link, target
	}
	return e, nil
}

// Manifest is what a tree holds, sorted by path as [Compare] does it: a
// directory stands before what it holds.
type Manifest []Entry

// Compare orders paths so that a directory's content follows it.
func Compare(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

func (m Manifest) sort() {
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
