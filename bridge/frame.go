package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
)

// keepBuffer is the size, in bytes, up to which a buffer is kept for the next
// message, and up to which it is allocated before any bytes have arrived.
const keepBuffer = 1 << 20

// A larger buffer, of up to keepLarge bytes, is kept for the next large message, since
// those come in bursts, until keepFor messages in a row have not needed it.
const (
	keepLarge = 32 << 20
	keepFor   = 32
)

// frameFault is a violation of the framing by a peer.
type frameFault string

const (
	errHTTP       frameFault = "the peer speaks HTTP, not the Debug Adapter Protocol"
	errHeaderSize frameFault = "the message's header is too large"
	errHeaderLine frameFault = "the message's header is malformed"
	errLength     frameFault = "the message's Content-Length is unusable"
	errBodySize   frameFault = "the message is too large"
)

func (f frameFault) Error() string { return string(f) }

// frameReader reads the messages of an untrusted peer (Debug Adapter Protocol,
// overview, section "Base protocol"). It is not safe for concurrent use.
type frameReader struct {
	r         *bufio.Reader
	maxHeader int
	maxBody   int64
	buf       []byte

	large      []byte // for messages larger than keepBuffer
	sinceLarge int    // messages since large was needed
}

// newFrameReader returns a frameReader of r that bounds headers and bodies, in bytes.
func newFrameReader(r io.Reader, maxHeader int, maxBody int64) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, maxHeader), maxHeader: maxHeader, maxBody: maxBody}
}

// read returns the body of the next message, valid until the next call. The error is
// io.EOF if the stream ends between messages; it wraps a frameFault if the peer breaks
// the protocol and io.ErrUnexpectedEOF if the stream ends within a message. After an
// error the stream must not be used again.
func (f *frameReader) read() ([]byte, error) {
	if f.sinceLarge++; f.sinceLarge > keepFor || cap(f.large) > keepLarge {
		f.large = nil
	}
	length, err := f.readHeader()
	if err != nil {
		return nil, err
	}
	if length > f.maxBody {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", errBodySize, length, f.maxBody)
	}
	return f.readBody(int(length))
}

// readHeader reads up to the empty line and returns the Content-Length.
func (f *frameReader) readHeader() (length int64, err error) {
	length = -1
	for size := 0; ; {
		line, err := f.r.ReadSlice('\n')
		first := size == 0
		if first && isHTTP(line) {
			return 0, fmt.Errorf("%w: %.80q", errHTTP, line)
		}
		size += len(line)
		if errors.Is(err, bufio.ErrBufferFull) || size > f.maxHeader {
			return 0, fmt.Errorf("%w: over %d bytes", errHeaderSize, f.maxHeader)
		}
		if err != nil {
			return 0, readError("header", err, size == 0)
		}
		line, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok {
			return 0, fmt.Errorf("%w: %.80q does not end in \\r\\n", errHeaderLine, line)
		}
		if len(line) == 0 {
			break
		}
		if length, err = parseLength(line, length); err != nil {
			return 0, err
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("%w: the header has none", errLength)
	}
	return length, nil
}

// parseLength returns the Content-Length in line, or known if line is another field.
// A known of -1 means that there was none before.
func parseLength(line []byte, known int64) (int64, error) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return 0, fmt.Errorf("%w: %.80q", errHeaderLine, line)
	}
	if !bytes.EqualFold(name, []byte("Content-Length")) {
		return known, nil
	}
	if known >= 0 {
		return 0, fmt.Errorf("%w: it occurs twice", errLength)
	}
	// ParseUint takes no sign, and 63 bits always fit an int64.
	length, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%w: %.80q", errLength, line)
	}
	return int64(length), nil
}

// readBody reads n bytes. It allocates more than keepBuffer only once that many have
// arrived, so that a false length costs no memory.
func (f *frameReader) readBody(n int) ([]byte, error) {
	f.buf = slices.Grow(f.buf[:0], min(n, keepBuffer))
	head := f.buf[:min(n, keepBuffer)]
	if got, err := io.ReadFull(f.r, head); err != nil {
		return nil, readError(fmt.Sprintf("body, %d of %d bytes", got, n), err, false)
	}
	if len(head) == n {
		return head, nil
	}
	buf := f.largeBuffer(n)
	got, err := io.ReadFull(f.r, buf[copy(buf, head):])
	if err != nil {
		return nil, readError(fmt.Sprintf("body, %d of %d bytes", len(head)+got, n), err, false)
	}
	return buf, nil
}

// largeBuffer returns a buffer of n bytes, the previous one if it is large enough:
// clearing a new one takes as long as filling it.
func (f *frameReader) largeBuffer(n int) []byte {
	if cap(f.large) < n {
		f.large = nil // never hold two
		f.large = make([]byte, n)
	}
	f.sinceLarge = 0
	return f.large[:n]
}

// readError wraps an error of the underlying stream. Between messages, the end of the
// stream is plain io.EOF.
func readError(part string, err error, between bool) error {
	if errors.Is(err, io.EOF) {
		if between {
			return io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read message %s: %w", part, err)
}

// isHTTP reports whether line begins an HTTP request, such as one sent by a web page
// that attacks local ports. Unlike a request line, a header field has a colon in its
// first word.
func isHTTP(line []byte) bool {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return false
	}
	switch string(method) {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI":
		return true
	}
	return !bytes.Contains(method, []byte(":")) && bytes.Contains(rest, []byte(" HTTP/"))
}

// frameWriter writes messages. It is not safe for concurrent use.
type frameWriter struct {
	w   io.Writer
	buf []byte
}

func newFrameWriter(w io.Writer) *frameWriter { return &frameWriter{w: w} }

// write sends body as one message: a small one in a single Write, so that it becomes
// one packet, and a large one without copying it.
func (f *frameWriter) write(body []byte) error {
	f.buf = appendHeader(f.buf[:0], len(body))
	var err error
	if len(body) < largeMessage {
		f.buf = append(f.buf, body...)
		_, err = f.w.Write(f.buf)
	} else {
		buffers := net.Buffers{f.buf, body}
		_, err = buffers.WriteTo(f.w)
	}
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// appendHeader appends the header of a message of n bytes.
func appendHeader(dst []byte, n int) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, "\r\n\r\n"...)
}
