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

// Mirror makes a node's tree equal to the host's. Its methods must not be called
// concurrently.
type Mirror struct {
	Dir    string           // the host's tree
	Client *receiver.Client // for the node's tree
	Record *Record
	// Deltas sends the differences for files of which the node holds an earlier version. If
	// it is nil, all files are sent whole.
	Deltas DeltaSender
	// MinDeltaSize is the total size of files, in bytes, from which Deltas is worth
	// starting. Files smaller than a quarter of it are not counted. 0 means 1 MiB.
	MinDeltaSize int64
	// Progress is called after each change of a run; it may be nil.
	Progress func(done, total int)

	staging bool // the receiver has its directory for staged files
}

// Report is the result of one run. Paths are relative to the tree, except KeptFile.At.
type Report struct {
	Files   int           `json:"files"`   // sent, including links
	Bytes   int64         `json:"bytes"`   // of those files
	Saved   int64         `json:"saved"`   // those of Bytes that Deltas did not have to send
	Deltas  int           `json:"deltas"`  // those of Files that were sent as a difference
	Removed int           `json:"removed"` // files, links and directories
	Kept    []KeptFile    `json:"kept,omitempty"`
	Failed  []PathProblem `json:"failed,omitempty"`
	Others  int           `json:"others,omitempty"` // on the node, but not part of the copy; set by a full scan
	// Incomplete is true if something changed while it was being sent, so that the node does
	// not have its current state.
	Incomplete bool `json:"again,omitempty"`
	// NoDeltas is why files were sent whole although Deltas was worth starting, and how
	// to fix it.
	NoDeltas string `json:"noDeltas,omitempty"`
}

// KeptFile is a file that had been changed on the node, and where it is kept there.
type KeptFile struct {
	Path string `json:"path"`
	At   string `json:"at"`
}

// PathProblem describes what is wrong with a path.
type PathProblem struct {
	Path   string `json:"path"`
	Reason string `json:"why"`
}

// maxAttempts bounds how often SyncAll compares a tree that keeps changing.
const maxAttempts = 3

// SyncAll runs a full scan and makes the node's tree equal to the host's. It fails with
// a ForeignError, before anything is written, if the node's tree is not a copy, unless
// force is set.
func (m *Mirror) SyncAll(ctx context.Context, force bool) (Report, error) {
	var sum Report
	for attempt := 1; ; attempt++ {
		changes, r, err := m.Plan(ctx, force)
		if err != nil {
			return sum, err
		}
		err = m.apply(ctx, changes, &r)
		r.Files, r.Bytes, r.Removed = r.Files+sum.Files, r.Bytes+sum.Bytes, r.Removed+sum.Removed
		r.Deltas, r.Saved, r.NoDeltas = r.Deltas+sum.Deltas, r.Saved+sum.Saved, cmp.Or(r.NoDeltas, sum.NoDeltas)
		r.Kept = append(sum.Kept, r.Kept...)
		if sum = r; err != nil || !sum.Incomplete || attempt == maxAttempts {
			return sum, err
		}
		force = true // the tree is a copy by now
	}
}

// Plan returns the changes that [Mirror.SyncAll] would make. Only Failed and Others are
// set in the report.
func (m *Mirror) Plan(ctx context.Context, force bool) ([]receiver.Change, Report, error) {
	var r Report
	host, unknown, err := Scan(ctx, m.Dir)
	if err != nil {
		return nil, r, err
	}
	var node tree.Manifest
	var nodeProblems []tree.Problem
	if m.Client.TopExists() {
		if node, nodeProblems, err = m.Client.Scan(); err != nil {
			return nil, r, err
		}
	}
	if path, foreign := findForeign(node, m.Record); foreign && !force {
		return nil, r, &ForeignError{Path: path}
	}
	for _, p := range unknown {
		r.Failed = append(r.Failed, PathProblem{p.Path, p.Err.Error()})
	}
	nodeProblems = relevantProblems(nodeProblems, host, m.Record)
	for _, p := range nodeProblems {
		r.Failed = append(r.Failed, PathProblem{p.Path, "on the node: " + p.Err.Error()})
	}
	var changes []receiver.Change
	changes, r.Others = planAll(host, node, m.Record, unknown)
	if len(nodeProblems) == 0 {
		clearExpected(changes, node)
	}
	return changes, r, nil
}

// relevantProblems returns the problems of the node's tree that concern what is or was
// copied.
func relevantProblems(problems []tree.Problem, host tree.Manifest, record *Record) []tree.Problem {
	relevant := map[string]bool{}
	for _, p := range problems {
		relevant[p.Path] = false
	}
	mark := func(path string) {
		if ancestor, found := nearestAncestor(relevant, path); found {
			relevant[ancestor] = true
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
	return slices.DeleteFunc(problems, func(p tree.Problem) bool { return !relevant[p.Path] })
}

// clearExpected clears Expected where the node, whose manifest is complete, has no entry,
// whatever the record says: there is no file to send a difference from.
func clearExpected(changes []receiver.Change, node tree.Manifest) {
	for i, c := range changes {
		if _, exists := node.Find(c.Want.Path); !exists {
			changes[i].Expected = tree.Entry{Path: c.Want.Path}
		}
	}
}

// ForeignError is the error for a directory on the node that is not a copy. Path is one
// of its files.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return "it holds files that dapbridge sync did not put there, such as " + e.Path
}

// SyncBatch makes the changes of a batch on the node.
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

// apply makes changes and adds their results to r.
func (m *Mirror) apply(ctx context.Context, changes []receiver.Change, r *Report) error {
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := m.Record.Intend(wantedEntries(changes)); err != nil {
		return err
	}
	deltaBytes, err := m.stageDeltas(ctx, changes, r)
	if err != nil {
		return err
	}
	done, stagedBytes := 0, int64(0)
	var recordErr error
	err = m.Client.Apply(ctx, root, changes, func(c receiver.Change, result receiver.Result) {
		if done++; m.Progress != nil {
			m.Progress(done, len(changes))
		}
		if result.Err == nil {
			rec := RecordEntry{Sent: result.Sent, Now: result.Now, Settled: isSettled(result.Sent, result.ReadAt)}
			if err := m.Record.Set(c.Want.Path, rec); err != nil {
				recordErr = err
			}
		}
		r.add(c, result)
		if result.FromStaged && result.Err == nil {
			r.Deltas++
			stagedBytes += result.Sent.Size
		}
	})
	r.Saved += max(0, stagedBytes-deltaBytes)
	if err == nil {
		err = m.unstage()
	}
	if err == nil {
		err = recordErr
	}
	return err
}

// wantedEntries yields the entries that the changes create or replace.
func wantedEntries(changes []receiver.Change) iter.Seq[tree.Entry] {
	return func(yield func(tree.Entry) bool) {
		for _, c := range changes {
			if !c.IsRemoval() && !yield(c.Want) {
				return
			}
		}
	}
}

// add adds the result of a change to the report.
func (r *Report) add(c receiver.Change, result receiver.Result) {
	path := c.Want.Path
	if result.Kept != "" {
		r.Kept = append(r.Kept, KeptFile{path, result.Kept})
	}
	switch err := result.Err; {
	case errors.Is(err, receiver.ErrChanged), errors.Is(err, fs.ErrNotExist): // on the host: the node's errors are text
		r.Incomplete = true
	case err != nil:
		r.Failed = append(r.Failed, PathProblem{path, err.Error()})
	case c.IsRemoval():
		r.Removed++
	case c.Want.Kind != tree.Dir:
		r.Files++
		r.Bytes += result.Sent.Size
	}
}
