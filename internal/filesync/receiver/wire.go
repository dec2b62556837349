package receiver

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/filesync/tree"
)

// Version is the protocol's. Both ends are of the same release, unless an old
// receiver is still on its way out.
const Version = 3

// A frame is its length, of what follows, in four bytes, most significant
// first; a byte that says what it is; and a body.
const (
	frameHello   = 'h'
	framePut     = 'P' // a file's data follows
	frameData    = 'D'
	framePacked  = 'Z' // data, compressed
	frameEnd     = 'E' // of data, whose digest it holds or nothing if it is void; of a scan
	frameStage   = 'T' // make the directory for staged files, or remove it
	framePlace   = 'L' // put a file that is staged
	frameRemove  = 'R'
	frameScan    = 'S'
	frameSum     = 'C'
	frameAnswer  = 'a'
	frameTaken   = 't' // so many bytes of a file's data have come, before its answer
	frameEntry   = 'e'
	frameProblem = 'p'
)

// MaxPath bounds the path of what is copied, in bytes: Linux's PATH_MAX.
const MaxPath = 4096

const (
	maxFrame = 64 << 10
	maxData  = 32 << 10 // what fits an SSH packet
	maxPath  = MaxPath
	maxText  = 2048     // of an error
	maxTaken = 1 << 20  // bytes that one frame tells of
	taken    = 16 << 10 // after so many it is told: less than a frame, so that no window waits for more
)

var errWire = errors.New("what arrived is not the protocol of dapbridge's receiver")

// frameWriter writes frames through a buffer.
type frameWriter struct {
	w      *bufio.Writer
	body   []byte        // of the next frame
	pack   *flate.Writer // writes to packed; nil before it is needed
	packed bytes.Buffer
}

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{w: bufio.NewWriterSize(w, maxData)}
}

// send writes the frame whose body has been gathered.
func (f *frameWriter) send(kind byte) error {
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(f.body)+1))
	head[4] = kind
	_, err := f.w.Write(head[:])
	if err == nil {
		_, err = f.w.Write(f.body)
	}
	f.body = f.body[:0]
	return err
}

// data sends a piece of a file. A compressed one refers to those before, of which
// together it is one DEFLATE stream that is flushed after each (RFC 1951).
func (f *frameWriter) data(piece []byte, compress bool) error {
	if !compress {
		f.body = append(f.body, piece...)
		return f.send(frameData)
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
	f.number(uint64(len(piece)))
	f.body = append(f.body, f.packed.Bytes()...)
	return f.send(framePacked)
}

// unpacker reads what frameWriter.data has compressed.
type unpacker struct {
	packed bytes.Buffer
	stream io.Reader // of packed; nil before it is needed
	piece  [maxData]byte
}

// next returns the piece that a frame holds, which is good until the next call.
func (u *unpacker) next(body *fields) ([]byte, error) {
	piece := u.piece[:body.number(maxData)]
	if body.bad {
		return nil, body.done()
	}
	u.packed.Write(body.rest)
	if u.stream == nil {
		u.stream = flate.NewReader(&u.packed)
	}
	if _, err := io.ReadFull(u.stream, piece); err != nil {
		return nil, fmt.Errorf("%w: compressed data: %w", errWire, err)
	}
	return piece, nil
}

// flush sends the frames that are buffered.
func (f *frameWriter) flush() error { return f.w.Flush() }

// hello begins the conversation: whether the tree's top directory is there, or
// why nothing can be done. An error of writing shows itself later.
func (f *frameWriter) hello(there bool, err error) {
	f.number(Version)
	f.number(map[bool]uint64{true: 1}[there])
	code := ""
	if err != nil {
		code = string(diag.CodeOf(err))
	}
	f.text(code)
	f.message(err)
	_ = f.send(frameHello)
}

// raw appends bytes to the frame's body as they are.
func (f *frameWriter) raw(b []byte) { f.body = append(f.body, b...) }

func (f *frameWriter) number(n uint64)   { f.body = binary.AppendUvarint(f.body, n) }
func (f *frameWriter) text(s string)     { f.number(uint64(len(s))); f.body = append(f.body, s...) }
func (f *frameWriter) message(err error) { f.text(errorText(err)) }

func (f *frameWriter) entry(e tree.Entry) {
	f.text(e.Path)
	f.number(uint64(e.Kind))
	f.number(uint64(e.Perm))
	f.number(uint64(e.Size))
	f.body = binary.AppendVarint(f.body, e.MTime)
	f.text(e.Target)
}

// errorText returns an error's text, "" for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if len(text) > maxText {
		text = text[:maxText]
	}
	return text
}

// readFrame reads a frame. Its body is good until the next call. The error is
// io.EOF if there is none.
func readFrame(r *bufio.Reader, buf *[maxFrame]byte) (kind byte, body *fields, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", errWire, length)
	}
	rest := buf[:length-1]
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, nil, fmt.Errorf("%w: a frame ends early: %w", errWire, err)
	}
	return head[4], &fields{rest: rest}, nil
}

// fields reads a frame's body, front to back. After a field that is not there
// all are empty, and done tells.
type fields struct {
	rest []byte
	bad  bool
}

// done returns an error unless the body held exactly the fields that were read.
func (f *fields) done() error {
	if f.bad || len(f.rest) > 0 {
		return fmt.Errorf("%w: a malformed frame", errWire)
	}
	return nil
}

// fail has done return an error.
func (f *fields) fail() { f.bad = true }

// isBad reports whether a field was missing.
func (f *fields) isBad() bool { return f.bad }

// left returns the part of the body that has not been read.
func (f *fields) left() []byte { return f.rest }

func (f *fields) number(most uint64) uint64 {
	n, length := binary.Uvarint(f.rest)
	if length <= 0 || n > most || f.bad {
		f.bad = true
		return 0
	}
	f.rest = f.rest[length:]
	return n
}

func (f *fields) text(most uint64) string {
	n := f.number(most)
	if n > uint64(len(f.rest)) {
		f.bad = true
		return ""
	}
	s := string(f.rest[:n])
	f.rest = f.rest[n:]
	return s
}

// path reads a path that lies below the top.
func (f *fields) path() string {
	p := f.text(maxPath)
	if !inside(p) {
		f.bad = true
		return ""
	}
	return p
}

// message reads an error's text.
func (f *fields) message() error {
	if text := f.text(maxText); text != "" {
		return errors.New(text)
	}
	return nil
}

func (f *fields) entry() tree.Entry {
	e := tree.Entry{Path: f.path()}
	e.Kind = tree.Kind(f.number(uint64(tree.Link)))
	e.Perm = uint32(f.number(tree.PermBits))
	e.Size = int64(f.number(1 << 62))
	mtime, length := binary.Varint(f.rest)
	if length <= 0 {
		f.bad = true
		return e
	}
	f.rest = f.rest[length:]
	e.MTime = mtime
	e.Target = f.text(maxPath)
	if strings.ContainsRune(e.Target, 0) || (e.Target == "") == (e.Kind == tree.Link) || e.Kind != tree.File && e.Size != 0 {
		f.bad = true
	}
	return e
}

// inside reports whether a path names something below the top, whatever the
// system's rules are.
func inside(path string) bool {
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
