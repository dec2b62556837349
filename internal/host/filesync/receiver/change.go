package receiver

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Change is a change to make at a path on the node.
type Change struct {
	// Want is the entry to put there; one of kind Nothing removes what is there.
	Want tree.Entry
	// Expected is what the host believes to be there now. If something else is there, with
	// other content than Want's, the node moves it out of the tree and keeps it.
	Expected tree.Entry
	// Staged is a file on the node that may have the content already.
	Staged StagedFile
}

// StagedFile is a file in the directory that [Client.Stage] has created.
type StagedFile struct {
	Path string // in the tree; "" for none
	Sum  []byte // the SHA-256 of its content, as reported by the node
}

// IsRemoval reports whether the change removes what is at its path.
func (c Change) IsRemoval() bool { return c.Want.Kind == tree.Nothing }

// Result is the outcome of a Change.
type Result struct {
	Now        tree.Entry // what is on the node now
	Sent       tree.Entry // what was sent: Want, or its later state
	ReadAt     time.Time  // when the file had been read
	Kept       string     // where the node keeps the unexpected entry that it moved away, "" if there was none
	Err        error      // why the change was not made
	FromStaged bool       // the content came from Change.Staged
}

// ErrChanged is the error of a file that changed on the host while it was being sent.
var ErrChanged = errors.New("changed while being sent")

// Apply makes changes in order and calls report with the result of each. A directory must
// come before its contents, and must be removed after them. The content of files is read
// from root. If a change fails, the others are still made; Apply itself fails only if the
// channel fails or ctx ends.
func (c *Client) Apply(ctx context.Context, root *os.Root, changes []Change, report func(Change, Result)) error {
	f := newInFlight(&c.window)
	c.speed.startRun()
	var sendErr, readErr error
	go func() {
		defer close(f.changes)
		sendErr = c.sendChanges(ctx, root, changes, f)
	}()
	for p := range f.changes {
		if readErr != nil { // sendChanges ends soon, since the channel is closed
			continue
		}
		var r Result
		if r, readErr = c.readResult(p, f); readErr == nil {
			report(p.change, r)
		} else {
			f.stop()
		}
	}
	if readErr != nil {
		return readErr
	}
	return sendErr
}

// pendingChange is a change that is being sent or waits for its answer.
type pendingChange struct {
	change       Change
	awaitsAnswer bool // false if nothing was sent, because of err

	sent       chan struct{} // closed when all of it has been sent; guards the following
	entry      tree.Entry
	readAt     time.Time
	err        error // why its content was not sent, or is invalid
	fromStaged bool
	end        int64 // the offset after its last byte, see inFlight
}

// readResult reads the result of a change. chanErr is an error of the channel.
func (c *Client) readResult(p *pendingChange, f *inFlight) (r Result, chanErr error) {
	r.Now.Path = p.change.Want.Path
	if p.awaitsAnswer {
		if r.Now, r.Kept, r.Err, chanErr = c.readAnswer(r.Now.Path, f); chanErr != nil {
			return r, chanErr
		}
	}
	f.waitUntilSent(p)
	r.Sent, r.ReadAt, r.FromStaged = p.entry, p.readAt, p.fromStaged
	if p.err != nil {
		r.Err = p.err
	}
	c.speed.add(f.ackUpTo(p.end))
	return r, nil
}
