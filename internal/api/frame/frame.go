package frame

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Version is the protocol's version. Both ends are of the same release, unless a
// receiver of an older one has not ended yet.
const Version = 3

// The kinds of frames. A frame is the length of the rest in four bytes, big-endian, one
// byte with its kind, and a body.
const (
	KindHello    = 'h'
	KindPut      = 'P' // a file's data follows
	KindData     = 'D'
	KindPacked   = 'Z' // data, compressed
	KindEnd      = 'E' // of data, with its digest, or without one if the data is void; of a scan
	KindStage    = 'T' // create or remove the directory for staged files
	KindPlace    = 'L' // move a staged file to its path
	KindRemove   = 'R'
	KindScan     = 'S'
	KindSum      = 'C'
	KindAnswer   = 'a'
	KindReceived = 't' // how many bytes of a file's data have arrived, before its answer
	KindEntry    = 'e'
	KindProblem  = 'p'
)

// Limits that both ends keep.
const (
	MaxSize       = 64 << 10 // of a frame
	MaxData       = 32 << 10 // what fits an SSH packet
	MaxPath       = 4096     // bytes of a path: Linux's PATH_MAX
	MaxText       = 2048     // of an error
	MaxReceived   = 1 << 20  // bytes that one KindReceived frame acknowledges
	ReceivedEvery = 16 << 10 // bytes after which one is sent: less than a frame, so that no sender's window fills up waiting for one
)

// ErrMalformed is the error of data that violates the protocol.
var ErrMalformed = errors.New("malformed data between dapbridge and its receiver")

// Writer writes frames to a buffer.
type Writer struct {
	W      *bufio.Writer
	body   []byte        // of the next frame
	pack   *flate.Writer // writes to packed; nil before it is needed
	packed bytes.Buffer
}

// NewWriter returns a Writer that buffers frames for w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{W: bufio.NewWriterSize(w, MaxData)}
}

// Send writes a frame with the body appended so far.
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

// SendData sends a piece of a file. The compressed pieces of all files form one DEFLATE
// stream (RFC 1951), which is flushed after each piece, so that a piece refers to
// those before.
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

// Flush writes the buffered frames to the underlying writer.
func (f *Writer) Flush() error { return f.W.Flush() }

// SendHello sends the first frame: whether the tree's top directory exists, or the
// error that prevents any work. A failed write shows at the next Flush.
func (f *Writer) SendHello(exists bool, err error) {
	f.AppendNumber(Version)
	f.AppendNumber(map[bool]uint64{true: 1}[exists])
	code := ""
	if err != nil {
		code = string(diag.CodeOf(err))
	}
	f.AppendText(code)
	f.AppendError(err)
	_ = f.Send(KindHello)
}

// AppendRaw appends bytes to the frame's body.
func (f *Writer) AppendRaw(b []byte) { f.body = append(f.body, b...) }

// The Append methods append a field to the body of the next frame.

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

// truncateError returns an error's text, cut at MaxText, "" for nil.
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

// IsInside reports whether a path names something below the top, on any operating
// system.
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
// directory for staged files. They are never copied, and a scan removes leftover ones.
const TemporaryPrefix = ".dapbridge-tmp-"
