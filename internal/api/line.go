package api

import (
	"bufio"
	"fmt"
	"io"
	"sync"
)

// LineChannel is a jrpc2 channel with one JSON message a line. Unlike the package's
// own framing it refuses a line over maxLine instead of buffering it without bound,
// and it reports each line received, so that the supervisor can renew the lease.
type LineChannel struct {
	r         *bufio.Reader
	w         io.WriteCloser
	onReceive func() // may be nil
	closing   sync.Once
}

// NewLineChannel returns a channel over r and w. onReceive, unless nil, is called after
// each line received.
func NewLineChannel(r io.Reader, w io.WriteCloser, onReceive func()) *LineChannel {
	return &LineChannel{r: bufio.NewReader(r), w: w, onReceive: onReceive}
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

// ReadLine reads a line of at most maxLine bytes and returns it without its newline.
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
