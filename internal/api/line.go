package api

import (
	"bufio"
	"fmt"
	"io"
	"sync"
)

// lines is a jrpc2 channel of one JSON message a line. It refuses a line over
// maxLine, which the package's own framing would gather without end, and tells
// of each one received, which is what renews the lease.
type lines struct {
	r       *bufio.Reader
	w       io.WriteCloser
	heard   func() // may be nil
	closing sync.Once
}

func NewLines(r io.Reader, w io.WriteCloser, heard func()) *lines {
	return &lines{r: bufio.NewReader(r), w: w, heard: heard}
}

// Send writes one message and its newline in one call.
func (l *lines) Send(msg []byte) error {
	_, err := l.w.Write(append(msg, '\n'))
	return err
}

// Recv returns the next line without its newline; it is the caller's.
func (l *lines) Recv() ([]byte, error) {
	line, err := ReadLine(l.r)
	if err == nil && l.heard != nil {
		l.heard()
	}
	return line, err
}

// Close closes the writing side; what reads at the other end sees an EOF.
func (l *lines) Close() (err error) {
	l.closing.Do(func() { err = l.w.Close() })
	return err
}

func ReadLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		chunk, err := r.ReadSlice('\n')
		line = append(line, chunk...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		case err == bufio.ErrBufferFull:
			continue
		case err != nil:
			return nil, err
		}
		return line[:len(line)-1], nil
	}
}
