package filesync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Verify compares all of both trees, contents by their SHA-256, and returns how
// many files of the host's it has compared and what differs. What is on the node
// and was not put there by the record does not count.
func (m *Mirror) Verify(ctx context.Context) (files int, differ []PathProblem, err error) {
	host, unknown, err := Scan(ctx, m.Dir)
	if err != nil {
		return 0, nil, err
	}
	var node tree.Manifest
	if m.Client.TopExists() {
		var unseen []tree.Problem
		if node, unseen, err = m.Client.Scan(); err != nil {
			return 0, nil, err
		}
		unknown = append(unknown, relevantProblems(unseen, host, m.Record)...)
	}
	for _, p := range unknown {
		differ = append(differ, PathProblem{p.Path, p.Err.Error()})
	}
	var read []string
	for _, e := range host {
		there, _ := node.Find(e.Path)
		if e.Kind == tree.File {
			files++
		}
		if why := describeDifference(e, there); why != "" {
			differ = append(differ, PathProblem{e.Path, why})
		} else if e.Kind == tree.File {
			read = append(read, e.Path)
		}
	}
	for p := range m.Record.Paths() {
		_, wanted := host.Find(p)
		if _, there := node.Find(p); there && !wanted {
			differ = append(differ, PathProblem{p, "it is on the node only"})
		}
	}
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return files, differ, err
	}
	defer root.Close()
	err = m.Client.HashFiles(read, func(path string, sum []byte, err error) {
		own, ownErr := hashFile(root, path)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			differ = append(differ, PathProblem{path, "on the node: " + err.Error()})
		case ownErr != nil:
			differ = append(differ, PathProblem{path, ownErr.Error()})
		case !bytes.Equal(own, sum):
			differ = append(differ, PathProblem{path, "its content is another"})
		}
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return files, differ, err
}

// describeDifference says what differs between entries, but for files' content, or "".
func describeDifference(host, node tree.Entry) string {
	switch {
	case node.Kind == tree.Nothing:
		return "it is not on the node"
	case host.Kind != node.Kind:
		return "on the node it is a " + node.Kind.String()
	case host.Size != node.Size:
		return "its content is another"
	case host.Target != node.Target:
		return "it leads elsewhere on the node"
	case host.Perm != node.Perm:
		return "its mode is another"
	}
	return ""
}

func hashFile(root *os.Root, path string) ([]byte, error) {
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return hash.Sum(nil), err
}
