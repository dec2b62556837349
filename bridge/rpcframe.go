package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Ways in which a peer breaks the framing of JSON-RPC.
const (
	errNotObject frameFault = "the message is not a JSON object"
	errMalformed frameFault = "the message is malformed JSON"
)

// requestReader reads the messages of an untrusted JSON-RPC client: JSON objects, one
// after the other (net/rpc/jsonrpc). It is not safe for concurrent use.
type requestReader struct {
	in  *boundedReader
	src io.Reader // what dec reads: in, possibly preceded by bytes already read from it
	dec *json.Decoder
	max int64
	msg json.RawMessage
}

// newRequestReader returns a requestReader of r that refuses messages larger than max.
func newRequestReader(r io.Reader, max int64) *requestReader {
	in := &boundedReader{r: r}
	return &requestReader{in: in, src: in, dec: json.NewDecoder(in), max: max}
}

// read returns the next message, valid until the next call. The error is io.EOF if
// the stream ends between messages; it wraps a frameFault if the client breaks the
// protocol and io.ErrUnexpectedEOF if the stream ends within a message. After an
// error the stream must not be used again.
func (r *requestReader) read() ([]byte, error) {
	if cap(r.msg) > keepBuffer {
		r.dropBuffers()
	}
	r.in.left = r.max
	var syntax *json.SyntaxError
	switch err := r.dec.Decode(&r.msg); {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	case err != nil:
		return nil, readError("value", err, err == io.EOF)
	case int64(len(r.msg)) > r.max:
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", errBodySize, len(r.msg), r.max)
	case r.msg[0] != '{':
		return nil, fmt.Errorf("%w: it starts with %q", errNotObject, r.msg[0])
	}
	return r.msg, nil
}

// dropBuffers releases the buffers that a large message has grown.
func (r *requestReader) dropBuffers() {
	rest, _ := io.ReadAll(r.dec.Buffered()) // a bytes.Reader, which never fails
	if len(rest) > 0 {
		r.src = io.MultiReader(bytes.NewReader(rest), r.src)
	}
	r.dec, r.msg = json.NewDecoder(r.src), nil
}

// boundedReader fails once left bytes have been read.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBodySize
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// lineReader reads the answers of a JSON-RPC server, one per line, as Delve's encoder
// (encoding/json, Encoder.Encode) and the worker write them. It is not safe for
// concurrent use.
type lineReader struct {
	r           io.Reader
	max         int64 // largest message
	buf         []byte
	start, next int // of the current message in buf, and of the one after it
}

// newLineReader returns a lineReader of r that refuses lines longer than max.
func newLineReader(r io.Reader, max int64) *lineReader {
	return &lineReader{r: r, max: max}
}

// read returns the next line without its line break, with the contract of
// [requestReader.read].
func (l *lineReader) read() ([]byte, error) {
	l.start = l.next
	for i := l.start; ; {
		if n := bytes.IndexByte(l.buf[i:], '\n'); n >= 0 {
			return l.take(i + n)
		}
		var err error
		if i, err = l.readMore(); err != nil {
			return nil, err
		}
	}
}

// take returns the line that ends at end.
func (l *lineReader) take(end int) ([]byte, error) {
	msg := l.buf[l.start:end]
	if int64(len(msg)) > l.max {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", errBodySize, len(msg), l.max)
	}
	l.next = end + 1
	return msg, nil
}

// readMore reads more of the current line and returns the offset of the new bytes.
func (l *lineReader) readMore() (at int, err error) {
	at = len(l.buf) - l.start
	if int64(at) > l.max {
		return 0, fmt.Errorf("%w: over %d bytes", errBodySize, l.max)
	}
	if err := l.fill(); err != nil {
		return 0, readError("value", err, at == 0)
	}
	return at, nil
}

// fill moves the current line to the buffer's start and reads more.
func (l *lineReader) fill() error {
	line := l.buf[l.start:]
	if len(line) == 0 && cap(l.buf) > keepBuffer {
		l.buf = nil
	}
	l.buf = append(l.buf[:0], line...)
	l.start, l.next = 0, 0
	if len(l.buf) == cap(l.buf) {
		l.buf = slices.Grow(l.buf, max(len(l.buf), 16<<10))
	}
	for {
		n, err := l.r.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
		if n > 0 || err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				err = nil // the next Read returns it again
			}
			return err
		}
	}
}
