package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dapbridge/dapbridge/pathmap"
)

// Ways in which a peer breaks the framing of JSON-RPC.
const (
	errNoObject  frameFault = "the message is no JSON object"
	errMalformed frameFault = "the message is malformed JSON"
)

// maxDepth is how deep a message may nest, as in package pathmap.
const maxDepth = 512

// valueReader reads the messages of a JSON-RPC peer that is not trusted: JSON
// objects, one behind the other (net/rpc/jsonrpc). It is not for concurrent
// use.
type valueReader struct {
	r   io.Reader
	max int64
	buf []byte // what was read; the next message starts at start
	start,
	next int
}

// newValueReader returns a reader of r that refuses larger messages.
func newValueReader(r io.Reader, max int64) *valueReader { return &valueReader{r: r, max: max} }

// read returns the next message, valid until the next call. The error is io.EOF
// if the stream ends between messages; it wraps a frameFault if the peer breaks
// the protocol and io.ErrUnexpectedEOF if the stream ends within a message.
// After an error the stream is of no further use.
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
				v.next = i + 1
				return v.checked(v.buf[v.start:v.next])
			}
		}
		if int64(i-v.start) > v.max {
			return nil, fmt.Errorf("%w: over %d bytes", errBodySize, v.max)
		}
		i -= v.start
		if err := v.fill(); err != nil {
			return nil, truncated("value", err, i == 0)
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

// checked returns a message if it keeps to the grammar.
func (v *valueReader) checked(msg []byte) ([]byte, error) {
	if int64(len(msg)) > v.max {
		return nil, fmt.Errorf("%w: %d bytes, and %d are allowed", errBodySize, len(msg), v.max)
	}
	if pathmap.SkipValue(msg, 0) != len(msg) {
		return nil, fmt.Errorf("%w: %.80q", errMalformed, msg)
	}
	return msg, nil
}

// fill reads more, and moves the message that has begun to the buffer's start.
func (v *valueReader) fill() error {
	begun := v.buf[v.start:]
	if len(begun) == 0 && cap(v.buf) > keepBuffer {
		v.buf = nil
	}
	v.buf = append(v.buf[:0], begun...)
	v.start, v.next = 0, 0
	if len(v.buf) == cap(v.buf) {
		v.buf = slices.Grow(v.buf, max(len(v.buf), 16<<10))
	}
	for {
		n, err := v.r.Read(v.buf[len(v.buf):cap(v.buf)])
		v.buf = v.buf[:len(v.buf)+n]
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
