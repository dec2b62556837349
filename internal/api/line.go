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
type LineChannel struct {
	r         *bufio.Reader
	w         io.WriteCloser
	onReceive func() // may be nil
	closing   sync.Once
}

func NewLineChannel(r io.Reader, w io.WriteCloser, heard func()) *LineChannel {
	return &LineChannel{r: bufio.NewReader(r), w: w, onReceive: heard}
}

// Send writes one message and its newline in one call.
func (l *LineChannel) Send(msg []byte) error {
	_, err := l.w.Write(append(msg, '\n'))
	return err
}

// Recv returns the next line without its newline; it is the caller's.
func (l *LineChannel) Recv() ([]byte, error) {
	line, err := ReadLine(l.r)
	if err == nil && l.onReceive != nil {
		l.onReceive()
	}
	return line, err
}

// Close closes the writing side; what reads at the other end sees an EOF.
func (l *LineChannel) Close() (err error) {
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
