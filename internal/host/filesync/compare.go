package filesync

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
)

// planAll returns what is to be done so that the node holds what the host does:
// what the record says was put there and the host no longer has is removed. What
// else stands on the node is left, and counted in others. What the host could not
// look at, unknown, is left as it is, with all below it.
func planAll(host, node tree.Manifest, record *Record, unknown []tree.Problem) (changes []receiver.Change, others int) {
	for _, e := range host {
		there, _ := node.Find(e.Path)
		put, known := record.Get(e.Path)
		if known && put.isUpToDate(e, there) {
			continue
		}
		changes = append(changes, receiver.Change{Want: e, Expected: put.expected(there)})
	}
	for _, e := range node {
		_, mine := record.Get(e.Path)
		if _, wanted := host.Find(e.Path); !wanted && !mine {
			others++
		}
	}
	var gone []string
	for p := range record.Paths() {
		if _, there := host.Find(p); !there && !slices.ContainsFunc(unknown, func(u tree.Problem) bool { return isUnder(p, u.Path) }) {
			gone = append(gone, p)
		}
	}
	return append(planRemovals(gone, node, record), changes...), others
}

// isUnder reports whether a path is dir or below it.
func isUnder(path, dir string) bool {
	return dir == "" || path == dir || strings.HasPrefix(path, dir+"/")
}

// nearestAncestor returns the nearest of paths that is p or above it.
func nearestAncestor[V any](paths map[string]V, p string) (at string, found bool) {
	for at = p; ; at = at[:max(0, strings.LastIndexByte(at, '/'))] {
		if _, found = paths[at]; found || at == "" {
			return at, found
		}
	}
}

// planRemovals removes paths, what a directory holds before it. What stands on the
// node may be not known.
func planRemovals(paths []string, node tree.Manifest, record *Record) []receiver.Change {
	slices.SortFunc(paths, func(a, b string) int { return tree.Compare(b, a) })
	var changes []receiver.Change
	for _, p := range slices.Compact(paths) {
		put, _ := record.Get(p)
		there, _ := node.Find(p)
		changes = append(changes, receiver.Change{Want: tree.Entry{Path: p}, Expected: put.expected(there)})
	}
	return changes
}

// planBatch returns what is to be done after something has changed at paths of the
// host's tree, as a [Batch] has them, and where it could not be seen what. What is
// named is sent whether it looks the same or not.
func planBatch(root *os.Root, b Batch, record *Record) (changes []receiver.Change, unknown []tree.Problem) {
	now := make(map[string]tree.Kind, len(b.Paths)) // Nothing for what is not to stand on the node
	var trees bool                                  // what is recorded below a path may be gone with it
	for _, p := range b.Paths {
		e, err := lookUp(root, p)
		if err != nil {
			unknown = append(unknown, tree.Problem{Path: p, Err: err})
			continue
		}
		if b.Ignored[p] {
			e = tree.Entry{Path: p}
		}
		put, _ := record.Get(p)
		if e.Kind != tree.Nothing {
			changes = append(changes, receiver.Change{Want: e, Expected: put.Now})
		}
		now[p] = e.Kind
		trees = trees || e.Kind == tree.Nothing || e.Kind == tree.Dir || put.Now.Kind == tree.Dir
	}
	if !trees {
		return changes, unknown
	}
	var gone []string
	for known := range record.Paths() {
		at, named := nearestAncestor(now, known)
		kind := now[at]
		switch {
		case !named, at == known && kind != tree.Nothing:
			continue
		case kind == tree.Dir: // it may be another one than before, and of its content only what is there was named
			e, err := lookUp(root, known)
			if err != nil || e.Kind != tree.Nothing {
				continue
			}
		}
		gone = append(gone, known)
	}
	return append(planRemovals(gone, nil, record), changes...), unknown
}

var errLongPath = fmt.Errorf("its path has more than %d bytes", frame.MaxPath)

// lookUp returns what stands at a path that leads through directories only. That
// nothing does is no error.
func lookUp(root *os.Root, p string) (tree.Entry, error) {
	if len(p) > frame.MaxPath {
		return tree.Entry{Path: p}, errLongPath
	}
	for i, c := range p {
		if c != '/' {
			continue
		}
		e, err := tree.Lstat(root, p[:i])
		if err == nil && e.Kind != tree.Dir || errors.Is(err, fs.ErrNotExist) {
			return tree.Entry{Path: p}, nil
		}
		if err != nil {
			return e, err
		}
	}
	e, err := tree.Lstat(root, p)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return e, err
}

// findForeign returns a file of the node's tree if it is not a copy that the record
// tells of: it holds files, but none as it was put there.
func findForeign(node tree.Manifest, record *Record) (path string, foreign bool) {
	for _, e := range node {
		if e.Kind == tree.Dir {
			continue
		}
		if put, ok := record.Get(e.Path); ok && e.Matches(put.expected(e)) {
			return "", false
		}
		if path == "" {
			path = e.Path
		}
	}
	return path, path != ""
}
