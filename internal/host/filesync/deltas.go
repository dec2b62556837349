package filesync

import (
	"cmp"
	"context"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
)

// DeltaSender brings files to the node by their differences to what stands there. See
// [github.com/dapbridge/dapbridge/internal/host/filesync/rsync.Transfer].
type DeltaSender interface {
	// Send brings the files of the host's directory dir at paths to below stage, a
	// path in the node's tree; slow is a line for which compressing pays. bytes is what
	// went over it. What arrives need not be right or all: that is seen afterwards.
	Send(ctx context.Context, dir, stage string, paths []string, slow bool) (bytes int64, err error)
}

// minDeltaSize is the default of Mirror.MinDeltaSize. Where the line is as fast as a local
// node's, small files are sent sooner as they are (docs/benchmarks.md).
const minDeltaSize = 1 << 20

// stageDeltas has files of changes brought by Deltas, if that is worth it, and says in the
// changes which have come. What has not is sent as if there was no such way. bytes
// went over the line. The error is the channel's, or ctx's.
func (m *Mirror) stageDeltas(ctx context.Context, changes []receiver.Change, r *Report) (bytes int64, err error) {
	from := cmp.Or(m.MinDeltaSize, minDeltaSize)
	which, size := deltaCandidates(changes, from/4)
	if m.Deltas == nil || size < from {
		return 0, nil
	}
	dir, failed, lost := m.Client.Stage()
	if lost != nil {
		return 0, lost
	}
	if failed == nil {
		m.staging = true
		bytes, failed = m.Deltas.Send(ctx, m.Dir, dir, pathsOf(changes, which), m.Client.IsSlow())
	}
	if ctx.Err() != nil {
		return bytes, ctx.Err()
	}
	if failed == nil {
		return bytes, m.hashStaged(dir, changes, which)
	}
	r.NoDeltas = failed.Error()
	if hint := diag.Hint(failed); hint != "" {
		r.NoDeltas += ": " + hint
	}
	return bytes, m.unstage() // what has come may be in the way: the node's disk may be full
}

// deltaCandidates are the indexes of the changes of files of at least so many bytes of
// which the node may hold an earlier content, and how many they are together.
func deltaCandidates(changes []receiver.Change, least int64) (which []int, size int64) {
	for i, c := range changes {
		if c.Want.Kind == tree.File && c.Want.Size >= max(least, 1) && c.Expected.Kind == tree.File && c.Expected.Size > 0 {
			which = append(which, i)
			size += c.Want.Size
		}
	}
	return which, size
}

func pathsOf(changes []receiver.Change, which []int) []string {
	names := make([]string, len(which))
	for i, n := range which {
		names[i] = changes[n].Want.Path
	}
	return names
}

// hashStaged asks what stands in dir, and says so in those of the changes.
func (m *Mirror) hashStaged(dir string, changes []receiver.Change, which []int) error {
	staged := pathsOf(changes, which)
	for i := range staged {
		staged[i] = tree.Join(dir, staged[i])
	}
	next := 0
	return m.Client.HashFiles(staged, func(path string, sum []byte, err error) {
		if err == nil {
			changes[which[next]].Staged = receiver.StagedFile{Path: path, Sum: sum}
		}
		next++
	})
}

// unstage removes what has been staged and not been used. The error is the
// channel's: what can't be removed the next scan removes.
func (m *Mirror) unstage() error {
	if !m.staging {
		return nil
	}
	m.staging = false
	_, lost := m.Client.Unstage()
	return lost
}
