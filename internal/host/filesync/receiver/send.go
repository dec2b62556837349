package receiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// sendChanges sends changes. It fails if the channel fails or ctx ends.
func (c *Client) sendChanges(ctx context.Context, root *os.Root, changes []Change, f *inFlight) error {
	for _, change := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.waitForRoom(c.out.Flush); err != nil {
			return err
		}
		if len(f.changes) == cap(f.changes) { // the receiver may be waiting for what is buffered
			if err := c.out.Flush(); err != nil {
				return err
			}
		}
		p := &pendingChange{change: change, awaitsAnswer: true, sent: make(chan struct{}), entry: change.Want}
		if err := c.sendChange(root, p, f); err != nil {
			return err
		}
	}
	return c.out.Flush()
}

// sendChange sends a change, with the file's current content. It fails only if the
// channel does.
func (c *Client) sendChange(root *os.Root, p *pendingChange, f *inFlight) (chanErr error) {
	var file *os.File
	if p.change.Want.Kind == tree.File {
		var info fs.FileInfo
		if file, info, p.err = openFile(root, p.entry.Path); p.err != nil {
			p.awaitsAnswer = false
		} else {
			defer file.Close()
			p.entry, _ = tree.NewEntry(root, p.entry.Path, info) // fails only for links
		}
	}
	f.changes <- p // before its data, parts of which are acknowledged while it is sent
	defer close(p.sent)
	switch {
	case !p.awaitsAnswer:
		return nil
	case file == nil:
		p.end = f.addSent(0)
		return c.sendRequest(p.change)
	case p.change.Staged.Path != "" && p.change.Staged.matches(file, p.entry):
		p.fromStaged = true
		chanErr = c.sendPlace(p.entry, p.change)
	default:
		p.err, chanErr = c.sendFile(file, p.entry, p.change.Expected, f)
	}
	p.readAt, p.end = time.Now(), f.addSent(0)
	return chanErr
}

// sendRequest sends a change that has no data.
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

// sendPlace asks the receiver to move a staged file to its path.
func (c *Client) sendPlace(e tree.Entry, change Change) error {
	change.Expected.Path = e.Path
	c.out.AppendEntry(e)
	c.out.AppendEntry(change.Expected)
	c.out.AppendText(change.Staged.Path)
	return c.out.Send(frame.KindPlace)
}

// sendFile sends a file that e describes. fileErr is why its content is invalid, which an
// empty digest tells the receiver; chanErr is an error of the channel.
func (c *Client) sendFile(f *os.File, e, expected tree.Entry, fl *inFlight) (fileErr, chanErr error) {
	if err := c.sendPut(e, expected); err != nil {
		return nil, err
	}
	hash := sha256.New()
	sent := int64(0)
	chunk := make([]byte, frame.MaxData-64) // fits one packet together with the head of a small file
	for {
		n, err := f.Read(chunk)
		if n > 0 && sent > 0 {
			if err := fl.waitForRoom(c.out.Flush); err != nil {
				return nil, err
			}
		}
		sent += int64(n)
		if n > 0 {
			hash.Write(chunk[:n])
			fl.addSent(n) // before the receiver can acknowledge it
			if err := c.out.SendData(chunk[:n], c.speed.slow.Load()); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fileErr = err
			break
		}
		if sent > e.Size {
			break
		}
	}
	if fileErr == nil && (sent != e.Size || hasChanged(f, e)) {
		fileErr = ErrChanged
	}
	sum := hash.Sum(nil)
	if fileErr != nil {
		sum = nil
	}
	c.out.AppendText(string(sum))
	return fileErr, c.out.Send(frame.KindEnd)
}

// hasChanged reports whether e no longer describes a file.
func hasChanged(f *os.File, e tree.Entry) bool {
	info, err := f.Stat()
	return err != nil || info.Size() != e.Size || info.ModTime().UnixNano() != e.MTime
}

// matches reports whether a staged file has the content of f, which e describes. It
// leaves f at its beginning.
func (s StagedFile) matches(f *os.File, e tree.Entry) bool {
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	same := err == nil && n == e.Size && bytes.Equal(hash.Sum(nil), s.Sum) && !hasChanged(f, e)
	_, err = f.Seek(0, io.SeekStart)
	return same && err == nil
}

// openFile opens a regular file. It fails with ErrChanged if path leads to anything
// else, such as a symbolic link.
func openFile(root *os.Root, path string) (*os.File, fs.FileInfo, error) {
	name := filepath.FromSlash(path)
	before, err := root.Lstat(name)
	if err == nil && !before.Mode().IsRegular() {
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
	if err == nil && !os.SameFile(before, info) {
		err = ErrChanged
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
