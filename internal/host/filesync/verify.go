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

// Verify compares the trees, including the SHA-256 of all contents. It returns the number
// of the host's files, and what differs. It ignores what is on the node but not in the
// record.
func (m *Mirror) Verify(ctx context.Context) (files int, differ []PathProblem, err error) {
	host, unknown, err := Scan(ctx, m.Dir)
	if err != nil {
		return 0, nil, err
	}
	var node tree.Manifest
	if m.Client.TopExists() {
		var nodeProblems []tree.Problem
		if node, nodeProblems, err = m.Client.Scan(); err != nil {
			return 0, nil, err
		}
		unknown = append(unknown, relevantProblems(nodeProblems, host, m.Record)...)
	}
	for _, p := range unknown {
		differ = append(differ, PathProblem{p.Path, p.Err.Error()})
	}
	var toHash []string
	for _, e := range host {
		onNode, _ := node.Find(e.Path)
		if e.Kind == tree.File {
			files++
		}
		if reason := describeDifference(e, onNode); reason != "" {
			differ = append(differ, PathProblem{e.Path, reason})
		} else if e.Kind == tree.File {
			toHash = append(toHash, e.Path)
		}
	}
	for p := range m.Record.Paths() {
		_, wanted := host.Find(p)
		if _, exists := node.Find(p); exists && !wanted {
			differ = append(differ, PathProblem{p, "exists only on the node"})
		}
	}
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return files, differ, err
	}
	defer root.Close()
	err = m.Client.HashFiles(toHash, func(path string, sum []byte, err error) {
		hostSum, hostErr := hashFile(root, path)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			differ = append(differ, PathProblem{path, "on the node: " + err.Error()})
		case hostErr != nil:
			differ = append(differ, PathProblem{path, hostErr.Error()})
		case !bytes.Equal(hostSum, sum):
			differ = append(differ, PathProblem{path, "different content"})
		}
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return files, differ, err
}

// describeDifference returns what differs between two entries, apart from the content
// of files of equal size, or "".
func describeDifference(host, node tree.Entry) string {
	switch {
	case node.Kind == tree.Nothing:
		return "missing on the node"
	case host.Kind != node.Kind:
		return "on the node it is a " + node.Kind.String()
	case host.Size != node.Size:
		return "different content"
	case host.Target != node.Target:
		return "different target of the link"
	case host.Perm != node.Perm:
		return "different mode"
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
