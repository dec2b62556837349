package delta

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// NewReader returns a reader of the file that was passed to [Write], given the output of
// Write and the same former file, or nil if there is none. Its input may be malicious, and
// it uses a few megabytes of memory. It can't detect a missing piece at the end or a
// different former file: the caller must check the size and checksum of the result.
func NewReader(r io.Reader, former *io.SectionReader) io.Reader {
	return &reader{in: bufio.NewReaderSize(r, 64<<10), former: former}
}

type reader struct {
	in     *bufio.Reader
	former *io.SectionReader
	piece  []byte // buffer for the current piece
	rest   []byte // the unread part of it
	err    error  // follows rest
}

func (r *reader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.readPiece()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// readPiece reads a piece. Its error is io.EOF only at the end of the stream.
func (r *reader) readPiece() ([]byte, error) {
	if _, err := r.in.Peek(1); err != nil {
		return nil, err
	}
	start, err := r.readNumber(1<<62, "start of a dictionary")
	if err != nil {
		return nil, err
	}
	dict, err := r.readBytes(dictSize, "dictionary", func(b []byte) error {
		if r.former == nil {
			return errors.New("no former file")
		}
		_, err := r.former.ReadAt(b, start)
		return err
	})
	if err != nil {
		return nil, err
	}
	frame, err := r.readBytes(packedSize, "piece", func(b []byte) error {
		_, err := io.ReadFull(r.in, b)
		return err
	})
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(nil, decoderOptions(dict)...)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	if r.piece == nil {
		r.piece = make([]byte, 0, pieceSize)
	}
	piece, err := z.DecodeAll(frame, r.piece)
	if err != nil {
		return nil, fmt.Errorf("decompress a piece: %w", err)
	}
	if len(piece) == 0 {
		return nil, errors.New("empty piece")
	}
	return piece, nil
}

// readBytes reads a length and calls fill for a buffer of that length. It returns nil if
// the length is 0.
func (r *reader) readBytes(limit int64, what string, fill func([]byte) error) ([]byte, error) {
	n, err := r.readNumber(limit, "length of a "+what)
	if err != nil || n == 0 {
		return nil, err
	}
	b := make([]byte, n)
	if err := fill(b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read a %s of %d bytes: %w", what, n, err)
	}
	return b, nil
}

func (r *reader) readNumber(limit int64, what string) (int64, error) {
	n, err := binary.ReadUvarint(r.in)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("read the %s: %w", what, err)
	}
	if n > uint64(limit) {
		return 0, fmt.Errorf("the %s is %d, more than %d", what, n, limit)
	}
	return int64(n), nil
}
