package receiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Change is what is to happen at a path.
type Change struct {
	// Want is what is to stand there: Nothing removes.
	Want tree.Entry
	// Expected is what stands there now, as far as is known. What else stands
	// there is kept beside the tree, unless it has Want's content.
	Expected tree.Entry
	// Staged is where on the node a file's content may be by now.
	Staged StagedFile
}

// StagedFile is a file in the directory that [Client.Stage] has made.
type StagedFile struct {
	Path string // in the tree; "" for none
	Sum  []byte // the SHA-256 of what it holds, as the node says
}

// IsRemoval reports whether nothing is to stand there.
func (c Change) IsRemoval() bool { return c.Want.Kind == tree.Nothing }

// Result is what has become of a Change.
type Result struct {
	Now    tree.Entry // what stands there now
	Sent   tree.Entry // what was sent: Want, or what it was by then
	ReadAt time.Time  // when it had been read, if it is a file
	Kept   string     // where on the node is what stood there and was not expected, if it did
	Err    error      // why it was not done
	// Staged is true if the content was that of Change.Staged.
	FromStaged bool
}

// ErrChanged says that a file has changed while it was being sent.
var ErrChanged = errors.New("it changed while it was being sent")

// Apply makes changes, in their order, and tells what has become of each: a
// directory is to come before what it holds, and to go after it. The content of
// files is read from root. An error of one path does not keep the others from
// being done; the error that Apply returns is the channel's.
func (c *Client) Apply(ctx context.Context, root *os.Root, changes []Change, told func(Change, Result)) error {
	f := newFlight(&c.window)
	c.speed.begin()
	var failed, lost error
	go func() {
		defer close(f.changes)
		failed = c.sendChanges(ctx, root, changes, f)
	}()
	for s := range f.changes {
		if lost != nil { // sendAll ends, for the channel was cut
			continue
		}
		var r Result
		if r, lost = c.readResult(s, f); lost == nil {
			told(s.change, r)
		} else {
			f.end()
		}
	}
	if lost == nil {
		lost = failed
	}
	return lost
}

// pendingChange is a change that is on its way.
type pendingChange struct {
	change       Change
	awaitsAnswer bool // an answer will come

	sent   chan struct{} // closed when all has been sent, and the following is known
	entry  tree.Entry
	readAt time.Time
	err    error // it has not been sent, or is void
	staged bool
	end    int64 // the last of its bytes, see flight
}

// sendChanges sends changes. The error is the channel's, or ctx's.
func (c *Client) sendChanges(ctx context.Context, root *os.Root, changes []Change, f *flight) error {
	for _, change := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.room(c.out.Flush); err != nil {
			return err
		}
		if len(f.changes) == cap(f.changes) { // the receiver may wait for what is buffered
			if err := c.out.Flush(); err != nil {
				return err
			}
		}
		s := &pendingChange{change: change, awaitsAnswer: true, sent: make(chan struct{}), entry: change.Want}
		if err := c.sendChange(root, s, f); err != nil {
			return err
		}
	}
	return c.out.Flush()
}

// sendChange sends a change. A file is sent as it is now. The error is the channel's.
func (c *Client) sendChange(root *os.Root, s *pendingChange, f *flight) (lost error) {
	var file *os.File
	if s.change.Want.Kind == tree.File {
		var info fs.FileInfo
		if file, info, s.err = openFile(root, s.entry.Path); s.err != nil {
			s.awaitsAnswer = false
		} else {
			defer file.Close()
			s.entry, _ = tree.NewEntry(root, s.entry.Path, info) // it fails only for links
		}
	}
	f.changes <- s // before its data: of a large file the receiver says meanwhile how much has come
	defer close(s.sent)
	switch {
	case !s.awaitsAnswer:
		return nil
	case file == nil:
		s.end = f.add(0)
		return c.sendRequest(s.change)
	case s.change.Staged.Path != "" && s.change.Staged.matches(file, s.entry):
		s.staged = true
		lost = c.sendPlace(s.entry, s.change)
	default:
		s.err, lost = c.sendFile(file, s.entry, s.change.Expected, f)
	}
	s.readAt, s.end = time.Now(), f.add(0)
	return lost
}

// readResult reads what has become of a change. lost is an error of the channel.
func (c *Client) readResult(s *pendingChange, f *flight) (r Result, lost error) {
	r.Now.Path = s.change.Want.Path
	if s.awaitsAnswer {
		if r.Now, r.Kept, r.Err, lost = c.readAnswer(r.Now.Path, f); lost != nil {
			return r, lost
		}
	}
	f.await(s)
	r.Sent, r.ReadAt, r.FromStaged = s.entry, s.readAt, s.staged
	if s.err != nil {
		r.Err = s.err
	}
	c.speed.add(f.landTo(s.end))
	return r, nil
}

// sendRequest sends a change without data.
func (c *Client) sendRequest(change Change) error {
	if change.IsRemoval() {
		change.Expected.Path = change.Want.Path
		c.out.AppendEntry(change.Expected)
		return c.out.Send(frame.KindRemove)
	}
	return c.sendPut(change.Want, change.Expected)
}

func (c *Client) sendPut(want, expected tree.Entry) error {
	expected.Path = want.Path
	c.out.AppendEntry(want)
	c.out.AppendEntry(expected)
	return c.out.Send(frame.KindPut)
}

// sendFile sends the content of a file, which e tells of.
func (c *Client) sendFile(f *os.File, e, expected tree.Entry, to *flight) (failed, lost error) {
	if err := c.sendPut(e, expected); err != nil {
		return nil, err
	}
	hash := sha256.New()
	sent := int64(0)
	chunk := make([]byte, frame.MaxData-64) // with the head of a small file it fits one packet
	for {
		n, err := f.Read(chunk)
		if n > 0 && sent > 0 {
			if err := to.room(c.out.Flush); err != nil {
				return nil, err
			}
		}
		sent += int64(n)
		if n > 0 {
			hash.Write(chunk[:n])
			to.add(n) // before the receiver can tell of it
			if err := c.out.SendData(chunk[:n], c.speed.slow.Load()); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			failed = err
			break
		}
		if sent > e.Size {
			break
		}
	}
	if failed == nil && (sent != e.Size || hasChanged(f, e)) {
		failed = ErrChanged
	}
	sum := hash.Sum(nil)
	if failed != nil {
		sum = nil
	}
	c.out.AppendText(string(sum))
	return failed, c.out.Send(frame.KindEnd)
}

// hasChanged reports whether a file is no longer what e tells of.
func hasChanged(f *os.File, e tree.Entry) bool {
	info, err := f.Stat()
	return err != nil || info.Size() != e.Size || info.ModTime().UnixNano() != e.MTime
}

// matches reports whether a staged file has the content of f, of which e tells. It
// leaves f at its beginning.
func (s StagedFile) matches(f *os.File, e tree.Entry) bool {
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	same := err == nil && n == e.Size && bytes.Equal(hash.Sum(nil), s.Sum) && !hasChanged(f, e)
	_, err = f.Seek(0, io.SeekStart)
	return same && err == nil
}

// sendPlace has a staged file put at its path.
func (c *Client) sendPlace(e tree.Entry, change Change) error {
	change.Expected.Path = e.Path
	c.out.AppendEntry(e)
	c.out.AppendEntry(change.Expected)
	c.out.AppendText(change.Staged.Path)
	return c.out.Send(frame.KindPlace)
}

// Stage has the receiver make a directory in its tree, which only its user enters,
// for files that are brought there another way. It returns that directory's path in
// the tree. failed is why there is none, lost an error of the channel.
func (c *Client) Stage() (dir string, failed, lost error) { return c.sendStage(1) }

// Unstage removes that directory with what is left in it.
func (c *Client) Unstage() (failed, lost error) {
	_, failed, lost = c.sendStage(0)
	return failed, lost
}

func (c *Client) sendStage(wanted uint64) (dir string, failed, lost error) {
	c.out.AppendNumber(wanted)
	err := c.out.Send(frame.KindStage)
	if err == nil {
		err = c.out.Flush()
	}
	if err != nil {
		return "", nil, err
	}
	f, err := c.expect(frame.KindStage)
	if err != nil {
		return "", nil, err
	}
	dir, failed = f.ReadText(frame.MaxPath), f.ReadError()
	if err = f.Finish(); err == nil && failed == nil && wanted == 1 && (!frame.IsInside(dir) || !strings.HasPrefix(dir, frame.TemporaryPrefix)) {
		err = fmt.Errorf("%w: %q for staged files", frame.ErrMalformed, dir)
	}
	return dir, failed, c.fail(err)
}

// openFile opens what is a file, not what a link leads to.
func openFile(root *os.Root, path string) (*os.File, fs.FileInfo, error) {
	name := filepath.FromSlash(path)
	there, err := root.Lstat(name)
	if err == nil && !there.Mode().IsRegular() {
		err = ErrChanged
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(there, info) {
		err = ErrChanged
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// readAnswer reads what has become of a change at path, and before that how much of it
// has come.
func (c *Client) readAnswer(path string, to *flight) (now tree.Entry, kept string, failed, lost error) {
	for {
		kind, f, err := frame.ReadFrame(c.in, &c.buf)
		switch {
		case err != nil:
		case kind == frame.KindReceived:
			n := f.ReadNumber(frame.MaxReceived)
			if err = f.Finish(); err == nil {
				c.speed.add(to.landMore(int64(n)))
				continue
			}
		case kind == frame.KindAnswer:
			now, kept, failed = f.ReadEntry(), f.ReadText(2*frame.MaxPath), f.ReadError()
			if err = f.Finish(); err == nil && now.Path != path {
				err = fmt.Errorf("%w: an answer for another path", frame.ErrMalformed)
			}
		default:
			err = unexpectedKind(kind)
		}
		return now, kept, failed, c.fail(err)
	}
}
