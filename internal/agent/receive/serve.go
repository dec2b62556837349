package receive

import (
	"bufio"
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

// Config configures a receiver.
type Config struct {
	// Top is the absolute path of the directory to write to, which exists. Files that
	// were changed there and are to be replaced are moved to [BackupDir]/TIME/NAME beside
	// it.
	Top      string
	ReadOnly bool // write, remove and create nothing
	Now      time.Time
	In       io.Reader
	Out      io.Writer
}

// Serve serves the host's requests until In ends, and then returns nil. Temporary
// files of a receiver that was killed are removed by the next scan.
func Serve(c Config) error {
	parent, err := os.OpenRoot(filepath.Dir(c.Top))
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(c.Top)
	root, err := parent.OpenRoot(name)
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
		root:     root,
		readOnly: c.ReadOnly,
		in:       bufio.NewReaderSize(flushingReader{c.In, out.W}, frame.MaxSize),
		out:      out,
		backup:   backup{root: parent, top: name, dir: path.Join(BackupDir, c.Now.UTC().Format("20060102T150405Z"), name)},
	}
	defer s.leave()
	defer func() { _ = s.unstage() }() // the next scan removes what is left
	s.out.SendHello(true, nil)
	for {
		if s.in.Buffered() == 0 { // the next request may take long
			s.leave()
		}
		err := s.serveRequest(func() error { return checkTop(c.Top, top) })
		if errors.Is(err, io.EOF) && !errors.Is(err, frame.ErrMalformed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// flushingReader flushes the writer before each read, which may block.
type flushingReader struct {
	io.Reader
	out *bufio.Writer
}

func (a flushingReader) Read(b []byte) (int, error) {
	if err := a.out.Flush(); err != nil {
		return 0, err
	}
	return a.Reader.Read(b)
}

type server struct {
	root     *os.Root
	readOnly bool
	in       *bufio.Reader
	out      *frame.Writer
	buf      [frame.MaxSize]byte
	unpack   frame.Unpacker
	backup   backup
	temps    int    // number of temporary files created
	staged   string // the directory for staged files, "" for none

	dir     *os.Root // the directory that was entered last; nil for none
	dirPath string
}

// checkTop fails if the directory opened as the top was moved or removed, since what
// is written to it would be lost.
func checkTop(path string, top fs.FileInfo) error {
	now, err := os.Lstat(path)
	if err == nil && !os.SameFile(now, top) {
		err = errors.New("another directory is in its place")
	}
	if err != nil {
		return fmt.Errorf("%s is no longer the same directory: %w", path, err)
	}
	return nil
}

// serveRequest reads a request and answers it, if check succeeds. An error ends the
// receiver.
func (s *server) serveRequest(check func() error) error {
	kind, f, err := frame.ReadFrame(s.in, &s.buf)
	if err == nil {
		err = check()
	}
	if err != nil {
		return err
	}
	if s.readOnly && kind != frame.KindScan && kind != frame.KindSum {
		return fmt.Errorf("%w: a change to a read-only receiver", frame.ErrMalformed)
	}
	switch kind {
	case frame.KindPut:
		e, expected := f.ReadEntry(), f.ReadEntry()
		if err := f.Finish(); err != nil {
			return err
		}
		return s.put(e, expected)
	case frame.KindRemove:
		s.leave()
		expected := f.ReadEntry()
		if err := f.Finish(); err != nil {
			return err
		}
		kept, err := s.remove(expected)
		return s.sendAnswer(tree.Entry{Path: expected.Path}, kept, err)
	case frame.KindStage:
		wanted := f.ReadNumber(1) == 1
		if err := f.Finish(); err != nil {
			return err
		}
		err := s.unstage()
		if wanted && err == nil {
			err = s.stage()
		}
		s.out.AppendText(s.staged)
		s.out.AppendError(err)
		return s.out.Send(frame.KindStage)
	case frame.KindPlace:
		e, expected, from := f.ReadEntry(), f.ReadEntry(), f.ReadPath()
		if err := f.Finish(); err != nil {
			return err
		}
		temp, err := s.applyAttributes(from, e)
		return s.finishPut(e, expected, temp, err)
	case frame.KindScan:
		if err := f.Finish(); err != nil {
			return err
		}
		return s.scan()
	case frame.KindSum:
		p := f.ReadPath()
		if err := f.Finish(); err != nil {
			return err
		}
		sum, err := s.hashFile(p)
		s.out.AppendText(string(sum))
		s.out.AppendError(err)
		return s.out.Send(frame.KindSum)
	}
	return fmt.Errorf("%w: unknown request %q", frame.ErrMalformed, kind)
}

// sendAnswer says what is at a path now, where a backup was put, and what failed.
func (s *server) sendAnswer(now tree.Entry, kept string, err error) error {
	s.out.AppendEntry(now)
	s.out.AppendText(kept)
	s.out.AppendError(err)
	return s.out.Send(frame.KindAnswer)
}
