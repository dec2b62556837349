package receive

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Config says where a receiver works.
type Config struct {
	// Top is the directory that it writes to, an absolute path that exists. What
	// was changed there and is to be replaced is kept beside it, in
	// [BackupDir]/TIME/NAME.
	Top  string
	Look bool // only look: nothing is written, removed or made
	Now  time.Time
	In   io.Reader
	Out  io.Writer
}

// Serve does what the host asks until In ends, which is no error. Files that a
// receiver was writing when it was killed are removed by the next scan.
func Serve(c Config) error {
	beside, err := os.OpenRoot(filepath.Dir(c.Top))
	if err != nil {
		return err
	}
	defer beside.Close()
	name := filepath.Base(c.Top)
	root, err := beside.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	top, err := root.Stat(".")
	if err != nil {
		return err
	}
	out := frame.NewWriter(c.Out)
	s := &server{
		root:   root,
		look:   c.Look,
		in:     bufio.NewReaderSize(answering{c.In, out.W}, frame.MaxSize),
		out:    out,
		backup: backup{root: beside, top: name, dir: path.Join(BackupDir, c.Now.UTC().Format("20060102T150405Z"), name)},
	}
	defer s.leave()
	defer func() { _ = s.unstage() }() // what is left the next scan removes
	s.out.Hello(true, nil)
	for {
		if s.in.Buffered() == 0 { // it may be long until there is more
			s.leave()
		}
		err := s.one(func() error { return sameTop(c.Top, top) })
		if errors.Is(err, io.EOF) && !errors.Is(err, frame.ErrMalformed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// answering is a reader before each of whose reads, which may wait, what was written
// is sent.
type answering struct {
	io.Reader
	out *bufio.Writer
}

func (a answering) Read(b []byte) (int, error) {
	if err := a.out.Flush(); err != nil {
		return 0, err
	}
	return a.Reader.Read(b)
}

type server struct {
	root   *os.Root
	look   bool
	in     *bufio.Reader
	out    *frame.Writer
	buf    [frame.MaxSize]byte
	unpack frame.Unpacker
	backup backup
	temps  int    // how many temporary files there were
	staged string // the directory for staged files, "" for none

	dir     *os.Root // the directory that was entered last; nil for none
	dirPath string
}

// sameTop fails if the directory that was opened as the top does not stand there any
// more: somebody has moved or removed it, and what is written to it would be lost.
func sameTop(path string, top fs.FileInfo) error {
	now, err := os.Lstat(path)
	if err == nil && !os.SameFile(now, top) {
		err = errors.New("another one stands there")
	}
	if err != nil {
		return fmt.Errorf("%s is not the directory any more that it was: %w", path, err)
	}
	return nil
}

// one takes a request and answers it, if nothing is wrong with the top. Its error
// ends the receiver.
func (s *server) one(wrong func() error) error {
	kind, f, err := frame.Read(s.in, &s.buf)
	if err == nil {
		err = wrong()
	}
	if err != nil {
		return err
	}
	if s.look && kind != frame.Scan && kind != frame.Sum {
		return fmt.Errorf("%w: a change, where only looking was asked for", frame.ErrMalformed)
	}
	switch kind {
	case frame.Put:
		e, expected := f.Entry(), f.Entry()
		if err := f.Done(); err != nil {
			return err
		}
		return s.put(e, expected)
	case frame.Remove:
		s.leave()
		expected := f.Entry()
		if err := f.Done(); err != nil {
			return err
		}
		kept, err := s.remove(expected)
		return s.answer(tree.Entry{Path: expected.Path}, kept, err)
	case frame.Stage:
		wanted := f.Number(1) == 1
		if err := f.Done(); err != nil {
			return err
		}
		err := s.unstage()
		if wanted && err == nil {
			err = s.stage()
		}
		s.out.Text(s.staged)
		s.out.Message(err)
		return s.out.Send(frame.Stage)
	case frame.Place:
		e, expected, from := f.Entry(), f.Entry(), f.Path()
		if err := f.Done(); err != nil {
			return err
		}
		temp, err := s.dress(from, e)
		return s.settle(e, expected, temp, err)
	case frame.Scan:
		if err := f.Done(); err != nil {
			return err
		}
		return s.scan()
	case frame.Sum:
		p := f.Path()
		if err := f.Done(); err != nil {
			return err
		}
		sum, err := s.sum(p)
		s.out.Text(string(sum))
		s.out.Message(err)
		return s.out.Send(frame.Sum)
	}
	return fmt.Errorf("%w: a request of kind %q", frame.ErrMalformed, kind)
}

// answer tells what stands at a path now, where something was kept, and what
// went wrong.
func (s *server) answer(now tree.Entry, kept string, err error) error {
	s.out.Entry(now)
	s.out.Text(kept)
	s.out.Message(err)
	return s.out.Send(frame.Answer)
}

// put makes e stand at its path, where so far the host expects another.
func (s *server) put(e, expected tree.Entry) error {
	var temp string
	var err error
	if e.Kind == tree.File {
		var lost error
		if temp, err, lost = s.receive(e); lost != nil {
			return lost
		}
	}
	return s.settle(e, expected, temp, err)
}

// settle puts e at its path, if nothing has failed so far, and answers. A file's
// content is in temp, which is gone then.
func (s *server) settle(e, expected tree.Entry, temp string, err error) error {
	kept := ""
	if err == nil {
		kept, err = s.place(e, expected, temp)
	}
	now := tree.Entry{Path: e.Path}
	if err == nil {
		now, err = s.standing(e.Path)
	} else if temp != "" {
		_ = s.root.Remove(temp)
	}
	return s.answer(now, kept, err)
}

// date gives a file its time.
func (s *server) date(p string, mtime int64) error {
	at := time.Unix(0, mtime)
	if s.dir == nil || s.dirPath != parent(p) {
		return s.root.Chtimes(p, at, at)
	}
	return s.dir.Chtimes(path.Base(p), at, at)
}

// standing tells what stands at a path.
func (s *server) standing(p string) (tree.Entry, error) {
	if s.dir == nil || s.dirPath != parent(p) {
		return tree.Look(s.root, p)
	}
	e, err := tree.Look(s.dir, path.Base(p))
	e.Path = p
	return e, err
}

// receive writes the data of a file, which follows, to a temporary file beside
// it; temp is its name, if there is one. If that can't be done, the data is read
// to its end all the same. The last error is one of the channel.
func (s *server) receive(e tree.Entry) (temp string, failed, lost error) {
	f, temp, failed := s.temporary(e.Path)
	if failed == nil {
		defer f.Close()
	}
	hash := sha256.New()
	come := 0
	for size, ended := int64(0), false; !ended; {
		kind, body, err := frame.Read(s.in, &s.buf)
		var piece []byte
		if err == nil && kind == frame.End {
			ended = true
			sum := body.Text(sha256.Size)
			err = body.Done()
			switch {
			case failed != nil:
			case sum == "":
				failed = errors.New("it changed while it was being sent")
			case size != e.Size || sum != string(hash.Sum(nil)):
				failed = errors.New("it was damaged on its way")
			}
		} else if err == nil && kind == frame.Packed { // also if it is of no use: the next one builds on it
			piece, err = s.unpack.Next(body)
		} else if err == nil && kind == frame.Data {
			piece = body.Left()
		} else if err == nil {
			err = fmt.Errorf("%w: no data, but %q", frame.ErrMalformed, kind)
		}
		if err == nil && !ended {
			come, err = s.tell(come + len(piece))
		}
		if err != nil {
			if temp != "" {
				_ = s.root.Remove(temp)
			}
			return "", nil, err
		}
		if ended || failed != nil {
			continue
		}
		if size += int64(len(piece)); size > e.Size {
			failed = errors.New("it is longer than was said")
			continue
		}
		hash.Write(piece)
		_, failed = f.Write(piece)
	}
	if failed == nil {
		failed = f.Chmod(os.FileMode(e.Perm))
	}
	if failed == nil {
		failed = s.date(temp, e.MTime)
	}
	return temp, failed, nil
}

// tell tells the host now and then how much of a file has come, and returns what it
// has not told yet.
func (s *server) tell(come int) (rest int, err error) {
	if come < frame.ReceivedEvery {
		return come, nil
	}
	s.out.Number(uint64(come))
	return 0, s.out.Send(frame.Received)
}

// sum returns the SHA-256 of a file's content.
func (s *server) sum(p string) ([]byte, error) {
	info, err := s.root.Lstat(p)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: p, Err: errors.New("not a file")}
	}
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}
