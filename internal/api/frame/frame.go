package frame

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Version is the protocol's. Both ends are of the same release, unless an old
// receiver is still on its way out.
const Version = 3

// A frame is its length, of what follows, in four bytes, most significant
// first; a byte that says what it is; and a body.
const (
	KindHello    = 'h'
	KindPut      = 'P' // a file's data follows
	KindData     = 'D'
	KindPacked   = 'Z' // data, compressed
	KindEnd      = 'E' // of data, whose digest it holds or nothing if it is void; of a scan
	KindStage    = 'T' // make the directory for staged files, or remove it
	KindPlace    = 'L' // put a file that is staged
	KindRemove   = 'R'
	KindScan     = 'S'
	KindSum      = 'C'
	KindAnswer   = 'a'
	KindReceived = 't' // so many bytes of a file's data have come, before its answer
	KindEntry    = 'e'
	KindProblem  = 'p'
)

const (
	MaxSize       = 64 << 10
	MaxData       = 32 << 10 // what fits an SSH packet
	MaxPath       = 4096     // bytes of a path: Linux's PATH_MAX
	MaxText       = 2048     // of an error
	MaxReceived   = 1 << 20  // bytes that one frame tells of
	ReceivedEvery = 16 << 10 // after so many it is told: less than a frame, so that no window waits for more
)

var ErrMalformed = errors.New("what arrived is not the protocol of dapbridge's receiver")

// Writer writes frames through a buffer.
type Writer struct {
	W      *bufio.Writer
	body   []byte        // of the next frame
	pack   *flate.Writer // writes to packed; nil before it is needed
	packed bytes.Buffer
}

func NewWriter(w io.Writer) *Writer {
	return &Writer{W: bufio.NewWriterSize(w, MaxData)}
}

// Send writes the frame whose body has been gathered.
func (f *Writer) Send(kind byte) error {
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(f.body)+1))
	head[4] = kind
	_, err := f.W.Write(head[:])
	if err == nil {
		_, err = f.W.Write(f.body)
	}
	f.body = f.body[:0]
	return err
}

// Data sends a piece of a file. A compressed one refers to those before, of which
// together it is one DEFLATE stream that is flushed after each (RFC 1951).
func (f *Writer) SendData(piece []byte, compress bool) error {
	if !compress {
		f.body = append(f.body, piece...)
		return f.Send(KindData)
	}
	f.packed.Reset()
	if f.pack == nil {
		var err error
		if f.pack, err = flate.NewWriter(&f.packed, flate.BestSpeed); err != nil {
			return err
		}
	}
	_, err := f.pack.Write(piece)
	if err == nil {
		err = f.pack.Flush()
	}
	if err != nil {
		return err
	}
	f.AppendNumber(uint64(len(piece)))
	f.body = append(f.body, f.packed.Bytes()...)
	return f.Send(KindPacked)
}

// Unpacker reads what frameWriter.data has compressed.
type Unpacker struct {
	packed bytes.Buffer
	stream io.Reader // of packed; nil before it is needed
	piece  [MaxData]byte
}

// Next returns the piece that a frame holds, which is good until the next call.
func (u *Unpacker) Next(body *Body) ([]byte, error) {
	piece := u.piece[:body.ReadNumber(MaxData)]
	if body.bad {
		return nil, body.Finish()
	}
	u.packed.Write(body.rest)
	if u.stream == nil {
		u.stream = flate.NewReader(&u.packed)
	}
	if _, err := io.ReadFull(u.stream, piece); err != nil {
		return nil, fmt.Errorf("%w: compressed data: %w", ErrMalformed, err)
	}
	return piece, nil
}

// Flush sends the frames that are buffered.
func (f *Writer) Flush() error { return f.W.Flush() }

// Hello begins the conversation: whether the tree's top directory is there, or
// why nothing can be done. An error of writing shows itself later.
func (f *Writer) SendHello(there bool, err error) {
	f.AppendNumber(Version)
	f.AppendNumber(map[bool]uint64{true: 1}[there])
	code := ""
	if err != nil {
		code = string(diag.CodeOf(err))
	}
	f.AppendText(code)
	f.AppendError(err)
	_ = f.Send(KindHello)
}

// Raw appends bytes to the frame's body as they are.
func (f *Writer) AppendRaw(b []byte) { f.body = append(f.body, b...) }

func (f *Writer) AppendNumber(n uint64) { f.body = binary.AppendUvarint(f.body, n) }
func (f *Writer) AppendText(s string)   { f.AppendNumber(uint64(len(s))); f.body = append(f.body, s...) }
func (f *Writer) AppendError(err error) { f.AppendText(truncateError(err)) }

func (f *Writer) AppendEntry(e tree.Entry) {
	f.AppendText(e.Path)
	f.AppendNumber(uint64(e.Kind))
	f.AppendNumber(uint64(e.Perm))
	f.AppendNumber(uint64(e.Size))
	f.body = binary.AppendVarint(f.body, e.MTime)
	f.AppendText(e.Target)
}

// errorText returns an error's text, "" for none.
func truncateError(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if len(text) > MaxText {
		text = text[:MaxText]
	}
	return text
}

// Read reads a frame. Its body is good until the next call. The error is
// io.EOF if there is none.
func ReadFrame(r *bufio.Reader, buf *[MaxSize]byte) (kind byte, body *Body, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > MaxSize {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", ErrMalformed, length)
	}
	rest := buf[:length-1]
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, nil, fmt.Errorf("%w: a frame ends early: %w", ErrMalformed, err)
	}
	return head[4], &Body{rest: rest}, nil
}

// Fields reads a frame's body, front to back. After a field that is not there
// all are empty, and done tells.
type Body struct {
	rest []byte
	bad  bool
}

// Done returns an error unless the body held exactly the fields that were read.
func (f *Body) Finish() error {
	if f.bad || len(f.rest) > 0 {
		return fmt.Errorf("%w: a malformed frame", ErrMalformed)
	}
	return nil
}

// Fail has done return an error.
func (f *Body) MarkBad() { f.bad = true }

// IsBad reports whether a field was missing.
func (f *Body) IsBad() bool { return f.bad }

// Left returns the part of the body that has not been read.
func (f *Body) Rest() []byte { return f.rest }

func (f *Body) ReadNumber(most uint64) uint64 {
	n, length := binary.Uvarint(f.rest)
	if length <= 0 || n > most || f.bad {
		f.bad = true
		return 0
	}
	f.rest = f.rest[length:]
	return n
}

func (f *Body) ReadText(most uint64) string {
	n := f.ReadNumber(most)
	if n > uint64(len(f.rest)) {
		f.bad = true
		return ""
	}
	s := string(f.rest[:n])
	f.rest = f.rest[n:]
	return s
}

// Path reads a path that lies below the top.
func (f *Body) ReadPath() string {
	p := f.ReadText(MaxPath)
	if !IsInside(p) {
		f.bad = true
		return ""
	}
	return p
}

// Message reads an error's text.
func (f *Body) ReadError() error {
	if text := f.ReadText(MaxText); text != "" {
		return errors.New(text)
	}
	return nil
}

func (f *Body) ReadEntry() tree.Entry {
	e := tree.Entry{Path: f.ReadPath()}
	e.Kind = tree.Kind(f.ReadNumber(uint64(tree.Link)))
	e.Perm = uint32(f.ReadNumber(tree.PermBits))
	e.Size = int64(f.ReadNumber(1 << 62))
	mtime, length := binary.Varint(f.rest)
	if length <= 0 {
		f.bad = true
		return e
	}
	f.rest = f.rest[length:]
	e.MTime = mtime
	e.Target = f.ReadText(MaxPath)
	if strings.ContainsRune(e.Target, 0) || (e.Target == "") == (e.Kind == tree.Link) || e.Kind != tree.File && e.Size != 0 {
		f.bad = true
	}
	return e
}

// Inside reports whether a path names something below the top, whatever the
// system's rules are.
func IsInside(path string) bool {
	if path == "" || strings.ContainsRune(path, 0) {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}

// TemporaryPrefix begins the names of files that a receiver is writing, and of its
// directory for staged ones. Nobody copies them, and a scan removes them.
const TemporaryPrefix = ".dapbridge-tmp-"
