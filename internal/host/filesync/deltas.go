package filesync

import (
	"cmp"
	"context"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
)

// DeltaSender uploads files as differences from the node's versions. See
// [github.com/dapbridge/dapbridge/internal/host/filesync/rsync.Transfer].
type DeltaSender interface {
	// Send uploads the files at paths below the host's directory dir to the same paths below
	// stage, a path in the node's tree. compress is set for a connection so slow that
	// compression pays off. sent is the number of bytes that crossed the connection. Files
	// may arrive damaged or not at all: the caller checks.
	Send(ctx context.Context, dir, stage string, paths []string, compress bool) (sent int64, err error)
}

// minDeltaSize is the default of Mirror.MinDeltaSize. On a connection as fast as a local
// node's, small files are sent faster whole (docs/benchmarks.md).
const minDeltaSize = 1 << 20

// stageDeltas uploads the files of changes with m.Deltas, if that is worthwhile, and
// marks the changes whose files have arrived. The others are sent whole. sent is the
// number of bytes that crossed the connection. It fails if the channel fails or ctx ends.
func (m *Mirror) stageDeltas(ctx context.Context, changes []receiver.Change, r *Report) (sent int64, err error) {
	minSize := cmp.Or(m.MinDeltaSize, minDeltaSize)
	indexes, size := deltaCandidates(changes, minSize/4)
	if m.Deltas == nil || size < minSize {
		return 0, nil
	}
	dir, deltaErr, chanErr := m.Client.Stage()
	if chanErr != nil {
		return 0, chanErr
	}
	if deltaErr == nil {
		m.staging = true
		sent, deltaErr = m.Deltas.Send(ctx, m.Dir, dir, pathsOf(changes, indexes), m.Client.IsSlow())
	}
	if ctx.Err() != nil {
		return sent, ctx.Err()
	}
	if deltaErr == nil {
		return sent, m.hashStaged(dir, changes, indexes)
	}
	r.NoDeltas = deltaErr.Error()
	if hint := diag.Hint(deltaErr); hint != "" {
		r.NoDeltas += ": " + hint
	}
	return sent, m.unstage() // at once: the node's disk may be full
}

// deltaCandidates returns the indexes of the changes to files of at least minSize bytes
// of which the node may hold an earlier version, and their total size.
func deltaCandidates(changes []receiver.Change, minSize int64) (indexes []int, size int64) {
	for i, c := range changes {
		if c.Want.Kind == tree.File && c.Want.Size >= max(minSize, 1) && c.Expected.Kind == tree.File && c.Expected.Size > 0 {
			indexes = append(indexes, i)
			size += c.Want.Size
		}
	}
	return indexes, size
}

func pathsOf(changes []receiver.Change, indexes []int) []string {
	paths := make([]string, len(indexes))
	for i, n := range indexes {
		paths[i] = changes[n].Want.Path
	}
	return paths
}

// hashStaged sets Staged in the changes at indexes whose files are in dir.
func (m *Mirror) hashStaged(dir string, changes []receiver.Change, indexes []int) error {
	staged := pathsOf(changes, indexes)
	for i := range staged {
		staged[i] = tree.Join(dir, staged[i])
	}
	next := 0
	return m.Client.HashFiles(staged, func(path string, sum []byte, err error) {
		if err == nil {
			changes[indexes[next]].Staged = receiver.StagedFile{Path: path, Sum: sum}
		}
		next++
	})
}

// unstage removes staged files that were not used. It fails only if the channel does: the
// next scan removes what cannot be removed now.
func (m *Mirror) unstage() error {
	if !m.staging {
		return nil
	}
	m.staging = false
	_, chanErr := m.Client.Unstage()
	return chanErr
}
