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
	"sync/atomic"
	"time"

	"github.com/dapbridge/dapbridge/internal/filesync/tree"
)

// Change is what is to happen at a path.
type Change struct {
	// Want is what is to stand there: Nothing removes.
	Want tree.Entry
	// Expected is what stands there now, as far as is known. What else stands
	// there is kept beside the tree, unless it has Want's content.
	Expected tree.Entry
	// Staged is where on the node a file's content may be by now.
	Staged Staged
}

// Staged is a file in the directory that [Client.Stage] has made.
type Staged struct {
	Path string // in the tree; "" for none
	Sum  []byte // the SHA-256 of what it holds, as the node says
}

// Removes reports whether nothing is to stand there.
func (c Change) Removes() bool { return c.Want.Kind == tree.Nothing }

// Result is what has become of a Change.
type Result struct {
	Now  tree.Entry // what stands there now
	Sent tree.Entry // what was sent: Want, or what it was by then
	Read time.Time  // when it had been read, if it is a file
	Kept string     // where on the node is what stood there and was not expected, if it did
	Err  error      // why it was not done
	// Staged is true if the content was that of Change.Staged.
	Staged bool
}

// ErrChanged says that a file has changed while it was being sent.
var ErrChanged = errors.New("it changed while it was being sent")

// Apply makes changes, in their order, and tells what has become of each: a
// directory is to come before what it holds, and to go after it. The content of
// files is read from root. An error of one path does not keep the others from
// being done; the error that Apply returns is the channel's.
func (c *Client) Apply(ctx context.Context, root *os.Root, changes []Change, told func(Change, Result)) error {
	f := newFlight()
	c.speed.begin()
	var failed, lost error
	go func() {
		defer close(f.changes)
		failed = c.sendAll(ctx, root, changes, f)
	}()
	for s := range f.changes {
		if lost == nil { // else sendAll ends, for the channel has
			var r Result
			if r, lost = c.result(s); lost == nil {
				told(s.change, r)
			}
		}
		f.landed(s)
	}
	if lost == nil {
		lost = failed
	}
	return lost
}

// sent is a change that is on its way.
type sent struct {
	change Change
	entry  tree.Entry
	read   time.Time
	err    error // it has not been sent, or is void
	asked  bool
	staged bool
}

// flight is what is on its way. It is bounded, so that it soon shows how fast the
// line is.
type flight struct {
	changes chan sent
	bytes   atomic.Int64  // of their files
	less    chan struct{} // holds one when bytes has become less
}

const (
	mostChanges = 256
	mostBytes   = 1 << 20 // if it is more than one file
)

func newFlight() *flight {
	return &flight{changes: make(chan sent, mostChanges), less: make(chan struct{}, 1)}
}

func (f *flight) landed(s sent) {
	f.bytes.Add(-s.entry.Size)
	select {
	case f.less <- struct{}{}:
	default:
	}
}

// sendAll sends changes. The error is the channel's, or ctx's.
func (c *Client) sendAll(ctx context.Context, root *os.Root, changes []Change, f *flight) (err error) {
	for _, change := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		full := f.bytes.Load() > mostBytes
		if full || len(f.changes) == cap(f.changes) { // the receiver may wait for what is buffered
			if err := c.out.w.Flush(); err != nil {
				return err
			}
		}
		for full && f.bytes.Load() > mostBytes/2 { // so that the next packets are full ones
			<-f.less
		}
		s := sent{change: change, entry: change.Want}
		if change.Want.Kind == tree.File {
			s.entry, s.asked, s.staged, s.err, err = c.putFile(root, change)
			s.read = time.Now()
		} else {
			s.asked, err = true, c.ask(change)
		}
		if err != nil {
			return err
		}
		f.bytes.Add(s.entry.Size)
		f.changes <- s
	}
	return c.out.w.Flush()
}

// result reads what has become of a change. lost is an error of the channel.
func (c *Client) result(s sent) (r Result, lost error) {
	r = Result{Sent: s.entry, Read: s.read, Now: tree.Entry{Path: s.entry.Path}, Err: s.err, Staged: s.staged}
	if !s.asked {
		return r, nil
	}
	var err error
	if r.Now, r.Kept, err, lost = c.answer(s.entry.Path); lost != nil {
		return r, lost
	}
	if r.Err == nil {
		r.Err = err
	}
	if !s.staged {
		c.speed.arrived(s.entry.Size)
	}
	return r, nil
}

// ask sends a change without data.
func (c *Client) ask(change Change) error {
	if change.Removes() {
		change.Expected.Path = change.Want.Path
		c.out.entry(change.Expected)
		return c.out.send(frameRemove)
	}
	return c.head(change.Want, change.Expected)
}

func (c *Client) head(want, expected tree.Entry) error {
	expected.Path = want.Path
	c.out.entry(want)
	c.out.entry(expected)
	return c.out.send(framePut)
}

// putFile sends a file as it is now. asked reports whether an answer will come,
// staged whether the node had its content already. failed is of the file, lost of
// the channel.
func (c *Client) putFile(root *os.Root, change Change) (e tree.Entry, asked, staged bool, failed, lost error) {
	e = change.Want
	f, info, err := openFile(root, e.Path)
	if err != nil {
		return e, false, false, err, nil
	}
	defer f.Close()
	e, _ = tree.Describe(root, e.Path, info) // it fails only for links
	if change.Staged.Path != "" && change.Staged.holds(f, e) {
		return e, true, true, nil, c.place(e, change)
	}
	failed, lost = c.sendFile(f, e, change.Expected)
	return e, true, false, failed, lost
}

// sendFile sends the content of a file, which e tells of.
func (c *Client) sendFile(f *os.File, e tree.Entry, expected tree.Entry) (failed, lost error) {
	if err := c.head(e, expected); err != nil {
		return nil, err
	}
	hash := sha256.New()
	sent := int64(0)
	chunk := make([]byte, maxData-64) // with the head of a small file it fits one packet
	for {
		n, err := f.Read(chunk)
		sent += int64(n)
		if n > 0 {
			hash.Write(chunk[:n])
			if err := c.out.data(chunk[:n], c.speed.slow.Load()); err != nil {
				return nil, err
			}
			c.speed.sent(n)
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
	if failed == nil && (sent != e.Size || changed(f, e)) {
		failed = ErrChanged
	}
	sum := hash.Sum(nil)
	if failed != nil {
		sum = nil
	}
	c.out.text(string(sum))
	return failed, c.out.send(frameEnd)
}

// changed reports whether a file is no longer what e tells of.
func changed(f *os.File, e tree.Entry) bool {
	info, err := f.Stat()
	return err != nil || info.Size() != e.Size || info.ModTime().UnixNano() != e.MTime
}

// holds reports whether a staged file has the content of f, of which e tells. It
// leaves f at its beginning.
func (s Staged) holds(f *os.File, e tree.Entry) bool {
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	same := err == nil && n == e.Size && bytes.Equal(hash.Sum(nil), s.Sum) && !changed(f, e)
	_, err = f.Seek(0, io.SeekStart)
	return same && err == nil
}

// place has a staged file put at its path.
func (c *Client) place(e tree.Entry, change Change) error {
	change.Expected.Path = e.Path
	c.out.entry(e)
	c.out.entry(change.Expected)
	c.out.text(change.Staged.Path)
	return c.out.send(framePlace)
}

// Stage has the receiver make a directory in its tree, which only its user enters,
// for files that are brought there another way. It returns that directory's path in
// the tree. failed is why there is none, lost an error of the channel.
func (c *Client) Stage() (dir string, failed, lost error) { return c.stage(1) }

// Unstage removes that directory with what is left in it.
func (c *Client) Unstage() (failed, lost error) {
	_, failed, lost = c.stage(0)
	return failed, lost
}

func (c *Client) stage(wanted uint64) (dir string, failed, lost error) {
	c.out.number(wanted)
	err := c.out.send(frameStage)
	if err == nil {
		err = c.out.w.Flush()
	}
	if err != nil {
		return "", nil, err
	}
	f, err := c.expect(frameStage)
	if err != nil {
		return "", nil, err
	}
	dir, failed = f.text(maxPath), f.message()
	if err = f.done(); err == nil && failed == nil && wanted == 1 && (!inside(dir) || !strings.HasPrefix(dir, TemporaryPrefix)) {
		err = fmt.Errorf("%w: %q for staged files", errWire, dir)
	}
	return dir, failed, c.wrong(err)
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

// answer reads what has become of a change at path.
func (c *Client) answer(path string) (now tree.Entry, kept string, failed, lost error) {
	f, err := c.expect(frameAnswer)
	if err != nil {
		return now, "", nil, err
	}
	now, kept, failed = f.entry(), f.text(2*maxPath), f.message()
	if err = f.done(); err == nil && now.Path != path {
		err = fmt.Errorf("%w: an answer for another path", errWire)
	}
	return now, kept, failed, c.wrong(err)
}
