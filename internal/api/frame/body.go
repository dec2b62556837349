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
)

// Unpacker decompresses the pieces that [Writer.SendData] has compressed.
type Unpacker struct {
	packed bytes.Buffer
	stream io.Reader // of packed; nil before it is needed
	piece  [MaxData]byte
}

// Next returns the decompressed piece in a frame. It is valid until the next call.
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

// ReadFrame reads a frame. Its body is valid until the next call. The error is io.EOF
// if there are no more frames.
func ReadFrame(r *bufio.Reader, buf *[MaxSize]byte) (kind byte, body *Body, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > MaxSize {
		return 0, nil, fmt.Errorf("%w: frame of %d bytes", ErrMalformed, length)
	}
	rest := buf[:length-1]
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, nil, fmt.Errorf("%w: truncated frame: %w", ErrMalformed, err)
	}
	return head[4], &Body{rest: rest}, nil
}

// Body reads the fields of a frame's body in their order. If a field is missing or
// malformed, it and all that follow are zero, and Finish returns an error.
type Body struct {
	rest []byte
	bad  bool
}

// Finish returns an error unless exactly the fields of the body were read.
func (f *Body) Finish() error {
	if f.bad || len(f.rest) > 0 {
		return fmt.Errorf("%w: frame with missing, malformed or extra fields", ErrMalformed)
	}
	return nil
}

// MarkBad makes Finish return an error.
func (f *Body) MarkBad() { f.bad = true }

// IsBad reports whether a field was missing.
func (f *Body) IsBad() bool { return f.bad }

// Rest returns the part of the body that has not been read.
func (f *Body) Rest() []byte { return f.rest }

// ReadNumber reads a number, which must not exceed limit.
func (f *Body) ReadNumber(limit uint64) uint64 {
	n, length := binary.Uvarint(f.rest)
	if length <= 0 || n > limit || f.bad {
		f.bad = true
		return 0
	}
	f.rest = f.rest[length:]
	return n
}

// ReadText reads a text of at most limit bytes.
func (f *Body) ReadText(limit uint64) string {
	n := f.ReadNumber(limit)
	if n > uint64(len(f.rest)) {
		f.bad = true
		return ""
	}
	s := string(f.rest[:n])
	f.rest = f.rest[n:]
	return s
}

// ReadPath reads a path below the tree's top.
func (f *Body) ReadPath() string {
	p := f.ReadText(MaxPath)
	if !IsInside(p) {
		f.bad = true
		return ""
	}
	return p
}

// ReadError reads an error's text; nil if it is empty.
func (f *Body) ReadError() error {
	if text := f.ReadText(MaxText); text != "" {
		return errors.New(text)
	}
	return nil
}

// ReadEntry reads an entry, whose members must fit its kind.
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
