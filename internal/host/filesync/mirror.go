package filesync

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"slices"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
)

// Mirror makes a node's tree be like the host's. Its methods must not run at the
// same time.
type Mirror struct {
	Dir    string           // the host's tree
	Client *receiver.Client // writes the node's
	Record *Record
	// Deltas brings what has changed of files that the node holds already; nil has
	// all files sent as a whole.
	Deltas DeltaSender
	// DeltaFrom is how many bytes files must have together for Deltas to be worth its
	// start; a quarter of it makes a file count. 0 is 1 MiB.
	MinDeltaSize int64
	// Progress is called for each of so many changes that is done; nil is no one.
	Progress func(done, total int)

	staging bool // the receiver has made its directory for staged files
}

// Report is what one run of a mirror has come to. Paths are the tree's, but for
// Kept.At.
type Report struct {
	Files   int           `json:"files"`   // that were sent, links among them
	Bytes   int64         `json:"bytes"`   // of those
	Saved   int64         `json:"saved"`   // of those, how many did not have to be sent, by differences
	Deltas  int           `json:"deltas"`  // files that were sent so
	Removed int           `json:"removed"` // files, links and directories
	Kept    []KeptFile    `json:"kept,omitempty"`
	Failed  []PathProblem `json:"failed,omitempty"`
	Others  int           `json:"others,omitempty"` // on the node, and not of this copy; counted by a full comparison
	// Again says that something changed while it was being sent: what was sent last
	// is not what stands there.
	Incomplete bool `json:"again,omitempty"`
	// NoDeltas says why files were sent as a whole, where differences would have been
	// worth their start, and what to do about it.
	NoDeltas string `json:"noDeltas,omitempty"`
}

// KeptFile is what had been changed on the node, and where it is now.
type KeptFile struct {
	Path string `json:"path"`
	At   string `json:"at"`
}

// PathProblem is one of which something is to be said.
type PathProblem struct {
	Path   string `json:"path"`
	Reason string `json:"why"`
}

// maxAttempts is how often a full comparison follows a tree that changes meanwhile.
const maxAttempts = 3

// SyncAll compares the trees and makes the node's like the host's. It fails, before
// anything is written, if the node's is no copy, unless force says that it may be
// written to all the same.
func (m *Mirror) SyncAll(ctx context.Context, force bool) (Report, error) {
	var sum Report
	for try := 1; ; try++ {
		changes, r, err := m.Plan(ctx, force)
		if err != nil {
			return sum, err
		}
		err = m.apply(ctx, changes, &r)
		r.Files, r.Bytes, r.Removed = r.Files+sum.Files, r.Bytes+sum.Bytes, r.Removed+sum.Removed
		r.Deltas, r.Saved, r.NoDeltas = r.Deltas+sum.Deltas, r.Saved+sum.Saved, cmp.Or(r.NoDeltas, sum.NoDeltas)
		r.Kept = append(sum.Kept, r.Kept...)
		if sum = r; err != nil || !sum.Incomplete || try == maxAttempts {
			return sum, err
		}
		force = true // by now it holds what was put there
	}
}

// Plan is the comparison of [Mirror.SyncAll] alone. The report holds what could not
// be looked at, and Others.
func (m *Mirror) Plan(ctx context.Context, force bool) ([]receiver.Change, Report, error) {
	var r Report
	host, unknown, err := Scan(ctx, m.Dir)
	if err != nil {
		return nil, r, err
	}
	var node tree.Manifest
	var unseen []tree.Problem
	if m.Client.TopExists() {
		if node, unseen, err = m.Client.Scan(); err != nil {
			return nil, r, err
		}
	}
	if path, foreign := findForeign(node, m.Record); foreign && !force {
		return nil, r, &ForeignError{Path: path}
	}
	for _, p := range unknown {
		r.Failed = append(r.Failed, PathProblem{p.Path, p.Err.Error()})
	}
	unseen = relevantProblems(unseen, host, m.Record)
	for _, p := range unseen {
		r.Failed = append(r.Failed, PathProblem{p.Path, "on the node: " + p.Err.Error()})
	}
	var changes []receiver.Change
	changes, r.Others = planAll(host, node, m.Record, unknown)
	if len(unseen) == 0 {
		clearExpected(changes, node)
	}
	return changes, r, nil
}

// relevantProblems are those problems of the node's tree that concern what is or was copied. What
// else stands there is nobody's business here.
func relevantProblems(problems []tree.Problem, host tree.Manifest, record *Record) []tree.Problem {
	concerned := map[string]bool{}
	for _, p := range problems {
		concerned[p.Path] = false
	}
	mark := func(path string) {
		if at, found := nearestAncestor(concerned, path); found {
			concerned[at] = true
		}
	}
	if len(problems) > 0 {
		for _, e := range host {
			mark(e.Path)
		}
		for p := range record.Paths() {
			mark(p)
		}
	}
	return slices.DeleteFunc(problems, func(p tree.Problem) bool { return !concerned[p.Path] })
}

// clearExpected expects nothing where the node, which was seen as a whole, has nothing,
// whatever was put there once: there is nothing that a file could differ from.
func clearExpected(changes []receiver.Change, node tree.Manifest) {
	for i, c := range changes {
		if _, there := node.Find(c.Want.Path); !there {
			changes[i].Expected = tree.Entry{Path: c.Want.Path}
		}
	}
}

// ForeignError says that a directory of the node's holds what was not put there.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return "it holds files that dapbridge sync has not put there, " + e.Path + " for one"
}

// SyncBatch makes what has changed on the host change on the node.
func (m *Mirror) SyncBatch(ctx context.Context, b Batch) (Report, error) {
	var r Report
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return r, err
	}
	changes, unknown := planBatch(root, b, m.Record)
	root.Close()
	for _, p := range unknown {
		r.Failed = append(r.Failed, PathProblem{p.Path, p.Err.Error()})
	}
	return r, m.apply(ctx, changes, &r)
}

// apply makes changes and adds them to a report.
func (m *Mirror) apply(ctx context.Context, changes []receiver.Change, r *Report) error {
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := m.Record.Intend(wantedEntries(changes)); err != nil {
		return err
	}
	wire, err := m.stageDeltas(ctx, changes, r)
	if err != nil {
		return err
	}
	done, staged := 0, int64(0)
	var unwritten error
	err = m.Client.Apply(ctx, root, changes, func(c receiver.Change, result receiver.Result) {
		if done++; m.Progress != nil {
			m.Progress(done, len(changes))
		}
		if result.Err == nil {
			put := RecordEntry{Sent: result.Sent, Now: result.Now, Settled: isSettled(result.Sent, result.ReadAt)}
			if err := m.Record.Set(c.Want.Path, put); err != nil {
				unwritten = err
			}
		}
		r.add(c, result)
		if result.FromStaged && result.Err == nil {
			r.Deltas++
			staged += result.Sent.Size
		}
	})
	r.Saved += max(0, staged-wire)
	if err == nil {
		err = m.unstage()
	}
	if err == nil {
		err = unwritten
	}
	return err
}

// wantedEntries are the entries that changes put.
func wantedEntries(changes []receiver.Change) iter.Seq[tree.Entry] {
	return func(yield func(tree.Entry) bool) {
		for _, c := range changes {
			if !c.IsRemoval() && !yield(c.Want) {
				return
			}
		}
	}
}

// add counts what has become of a change.
func (r *Report) add(c receiver.Change, result receiver.Result) {
	path := c.Want.Path
	if result.Kept != "" {
		r.Kept = append(r.Kept, KeptFile{path, result.Kept})
	}
	switch err := result.Err; {
	case errors.Is(err, receiver.ErrChanged), errors.Is(err, fs.ErrNotExist):
		r.Incomplete = true // the host's own; the node's errors are text
	case err != nil:
		r.Failed = append(r.Failed, PathProblem{path, err.Error()})
	case c.IsRemoval():
		r.Removed++
	case c.Want.Kind != tree.Dir:
		r.Files++
		r.Bytes += result.Sent.Size
	}
}
