package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Ways in which a peer breaks the framing of JSON-RPC.
const (
	errNoObject  frameFault = "the message is no JSON object"
	errMalformed frameFault = "the message is malformed JSON"
)

// maxDepth is how deep a message may nest, as in package pathmap.
const maxDepth = 512

// valueReader reads the messages of a JSON-RPC client that is not trusted: JSON
// objects, one behind the other (net/rpc/jsonrpc). It is not for concurrent use.
type valueReader struct{ messageBuffer }

// newValueReader returns a reader of r that refuses larger messages.
func newValueReader(r io.Reader, max int64) *valueReader {
	return &valueReader{messageBuffer{r: r, max: max}}
}

// read returns the next message, valid until the next call; whether it is well
// formed is for [scanRPC] to say. The error is io.EOF if the stream ends between
// messages; it wraps a frameFault if the peer breaks the protocol and
// io.ErrUnexpectedEOF if the stream ends within a message. After an error the
// stream is of no further use.
func (v *valueReader) read() ([]byte, error) {
	v.start = v.next
	var s valueScanner
	for i := v.start; ; {
		for ; i < len(v.buf); i++ {
			if s.text && !s.backslash {
				if i += plainText(v.buf[i:]); i == len(v.buf) {
					break
				}
			}
			if s.depth == 0 && skipSpace(v.buf[i:i+1], 0) == 1 {
				v.start = i + 1
				continue
			}
			done, err := s.step(v.buf[i])
			if err != nil {
				return nil, err
			}
			if done {
				return v.take(i+1, i+1)
			}
		}
		var err error
		if i, err = v.more(); err != nil {
			return nil, err
		}
	}
}

// plainText returns how many bytes of a string's rest are neither its end nor an
// escape.
func plainText(b []byte) int {
	end := bytes.IndexByte(b, '"')
	if end < 0 {
		end = len(b)
	}
	if escape := bytes.IndexByte(b[:end], '\\'); escape >= 0 {
		return escape
	}
	return end
}

// lineReader reads the answers of a JSON-RPC server: each is a line, as Delve's
// encoder (encoding/json, Encoder.Encode) and the worker write them. It is not
// for concurrent use.
type lineReader struct{ messageBuffer }

// newLineReader returns a reader of r that refuses larger messages.
func newLineReader(r io.Reader, max int64) *lineReader {
	return &lineReader{messageBuffer{r: r, max: max}}
}

// read returns the next line without its end, as [valueReader.read] does.
func (l *lineReader) read() ([]byte, error) {
	l.start = l.next
	for i := l.start; ; {
		if end := bytes.IndexByte(l.buf[i:], '\n'); end >= 0 {
			return l.take(i+end, i+end+1)
		}
		var err error
		if i, err = l.more(); err != nil {
			return nil, err
		}
	}
}

// messageBuffer is what was read and is not returned yet. The next message
// starts at start.
type messageBuffer struct {
	r   io.Reader
	max int64 // the largest message
	buf []byte
	start,
	next int
}

// take returns the message that ends at end. The one behind it starts at next.
func (m *messageBuffer) take(end, next int) ([]byte, error) {
	msg := m.buf[m.start:end]
	if int64(len(msg)) > m.max {
		return nil, fmt.Errorf("%w: %d bytes, and %d are allowed", errBodySize, len(msg), m.max)
	}
	m.next = next
	return msg, nil
}

// more reads more of the message that has begun, and returns where that is.
func (m *messageBuffer) more() (at int, err error) {
	begun := len(m.buf) - m.start
	if int64(begun) > m.max {
		return 0, fmt.Errorf("%w: over %d bytes", errBodySize, m.max)
	}
	if err := m.fill(); err != nil {
		return 0, truncated("value", err, begun == 0)
	}
	return begun, nil
}

// fill reads more, and moves the message that has begun to the buffer's start.
func (m *messageBuffer) fill() error {
	begun := m.buf[m.start:]
	if len(begun) == 0 && cap(m.buf) > keepBuffer {
		m.buf = nil
	}
	m.buf = append(m.buf[:0], begun...)
	m.start, m.next = 0, 0
	if len(m.buf) == cap(m.buf) {
		m.buf = slices.Grow(m.buf, max(len(m.buf), 16<<10))
	}
	for {
		n, err := m.r.Read(m.buf[len(m.buf):cap(m.buf)])
		m.buf = m.buf[:len(m.buf)+n]
		if n > 0 || err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				err = nil // it comes again
			}
			return err
		}
	}
}

// valueScanner finds the end of a JSON object.
type valueScanner struct {
	depth           int
	text, backslash bool // in a string, behind a backslash in it
}

// step takes the next byte and reports whether the object ends with it.
func (s *valueScanner) step(b byte) (done bool, err error) {
	switch {
	case s.backslash:
		s.backslash = false
	case s.text:
		s.backslash, s.text = b == '\\', b != '"'
	case s.depth == 0 && b != '{':
		return false, fmt.Errorf("%w: it starts with %q", errNoObject, b)
	case b == '"':
		s.text = true
	case b == '{' || b == '[':
		s.depth++
		if s.depth > maxDepth {
			return false, fmt.Errorf("%w: it nests too deep", errMalformed)
		}
	case b == '}' || b == ']':
		s.depth--
		return s.depth == 0, nil
	}
	return false, nil
}
