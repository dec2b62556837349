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

// planAll returns the changes that make the node's tree equal to the host's. An entry
// that the host no longer has is removed if the record has it. Everything else on the
// node is left alone, and counted in others. Paths that could not be read on the host, as
// listed in unknown, are left alone too, with everything below them.
func planAll(host, node tree.Manifest, record *Record, unknown []tree.Problem) (changes []receiver.Change, others int) {
	for _, e := range host {
		onNode, _ := node.Find(e.Path)
		rec, recorded := record.Get(e.Path)
		if recorded && rec.isUpToDate(e, onNode) {
			continue
		}
		changes = append(changes, receiver.Change{Want: e, Expected: rec.expected(onNode)})
	}
	for _, e := range node {
		_, recorded := record.Get(e.Path)
		if _, wanted := host.Find(e.Path); !wanted && !recorded {
			others++
		}
	}
	var gone []string
	for p := range record.Paths() {
		if _, exists := host.Find(p); !exists && !slices.ContainsFunc(unknown, func(u tree.Problem) bool { return isUnder(p, u.Path) }) {
			gone = append(gone, p)
		}
	}
	return append(planRemovals(gone, node, record), changes...), others
}

// isUnder reports whether a path is dir or below it.
func isUnder(path, dir string) bool {
	return dir == "" || path == dir || strings.HasPrefix(path, dir+"/")
}

// nearestAncestor returns the deepest of paths that is p itself or an ancestor of p.
func nearestAncestor[V any](paths map[string]V, p string) (ancestor string, found bool) {
	for ancestor = p; ; ancestor = ancestor[:max(0, strings.LastIndexByte(ancestor, '/'))] {
		if _, found = paths[ancestor]; found || ancestor == "" {
			return ancestor, found
		}
	}
}

// planRemovals returns the changes that remove paths, the contents of a directory before
// the directory. node may be empty if the node's tree is not known.
func planRemovals(paths []string, node tree.Manifest, record *Record) []receiver.Change {
	slices.SortFunc(paths, func(a, b string) int { return tree.Compare(b, a) })
	var changes []receiver.Change
	for _, p := range slices.Compact(paths) {
		rec, _ := record.Get(p)
		onNode, _ := node.Find(p)
		changes = append(changes, receiver.Change{Want: tree.Entry{Path: p}, Expected: rec.expected(onNode)})
	}
	return changes
}

// planBatch returns the changes for a batch, and the paths whose state could not be
// read. Everything that the batch names is sent, even if it looks unchanged.
func planBatch(root *os.Root, b Batch, record *Record) (changes []receiver.Change, unknown []tree.Problem) {
	kinds := make(map[string]tree.Kind, len(b.Paths)) // Nothing if the node must have no entry
	var subtrees bool                                 // entries below a path may have vanished with it
	for _, p := range b.Paths {
		e, err := lstat(root, p)
		if err != nil {
			unknown = append(unknown, tree.Problem{Path: p, Err: err})
			continue
		}
		if b.Ignored[p] {
			e = tree.Entry{Path: p}
		}
		rec, _ := record.Get(p)
		if e.Kind != tree.Nothing {
			changes = append(changes, receiver.Change{Want: e, Expected: rec.Now})
		}
		kinds[p] = e.Kind
		subtrees = subtrees || e.Kind == tree.Nothing || e.Kind == tree.Dir || rec.Now.Kind == tree.Dir
	}
	if !subtrees {
		return changes, unknown
	}
	var gone []string
	for recorded := range record.Paths() {
		ancestor, named := nearestAncestor(kinds, recorded)
		kind := kinds[ancestor]
		switch {
		case !named, ancestor == recorded && kind != tree.Nothing:
			continue
		case kind == tree.Dir:
			// It may have replaced another directory, and the batch names only the contents that
			// exist now.
			e, err := lstat(root, recorded)
			if err != nil || e.Kind != tree.Nothing {
				continue
			}
		}
		gone = append(gone, recorded)
	}
	return append(planRemovals(gone, nil, record), changes...), unknown
}

var errLongPath = fmt.Errorf("the path is longer than %d bytes", frame.MaxPath)

// lstat returns the entry at a path. Its kind is Nothing if there is none, or if a parent
// of the path is not a directory.
func lstat(root *os.Root, p string) (tree.Entry, error) {
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

// findForeign reports whether the node's tree is not the copy that the record describes:
// it has files, but none is as it was copied. path is the first of them.
func findForeign(node tree.Manifest, record *Record) (path string, foreign bool) {
	for _, e := range node {
		if e.Kind == tree.Dir {
			continue
		}
		if rec, ok := record.Get(e.Path); ok && e.Matches(rec.expected(e)) {
			return "", false
		}
		if path == "" {
			path = e.Path
		}
	}
	return path, path != ""
}
