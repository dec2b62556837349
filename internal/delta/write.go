package delta

import (
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Write encodes file for [NewReader], which needs the same former file, or nil if there
// is none. Each piece is one Write to w. Pieces are compressed ahead, concurrently on all
// processors.
func Write(w io.Writer, file io.Reader, former *io.SectionReader) error {
	p := packer{former: former}
	if former != nil {
		var err error
		if p.guide, err = newGuide(former); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := make(chan struct{})
	defer close(stop)
	pieces := make(chan chan packedPiece, runtime.GOMAXPROCS(0))
	wg.Go(func() {
		defer close(pieces)
		for at := int64(0); ; at += pieceSize {
			result := make(chan packedPiece, 1)
			piece, err := readPiece(file)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				result <- packedPiece{err: err}
			default:
				start := p.guide.findStart(at, piece)
				wg.Go(func() { result <- p.pack(piece, start) })
			}
			select {
			case pieces <- result:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	})
	for result := range pieces {
		r := <-result
		if r.err != nil {
			return r.err
		}
		if _, err := w.Write(r.frame); err != nil {
			return err
		}
	}
	return nil
}

// readPiece reads a piece, which is shorter than pieceSize only at the end of the file.
func readPiece(file io.Reader) ([]byte, error) {
	piece := make([]byte, pieceSize)
	n, err := io.ReadFull(file, piece)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return piece[:n], err
}

// packedPiece is the result of packing a piece.
type packedPiece struct {
	frame []byte
	err   error
}

// packer packs pieces. It may be used from several goroutines.
type packer struct {
	former *io.SectionReader // nil if there is none
	guide  *guide            // nil if there is no former file
}

// pack packs a piece that is expected to start at start in the former file.
func (p packer) pack(piece []byte, start int64) packedPiece {
	var dict []byte
	var from int64
	if p.former != nil {
		size := p.former.Size()
		from = min(max(start-slack, 0), size)
		dict = make([]byte, min(max(start+int64(len(piece))+slack, from), size)-from)
		if n, err := p.former.ReadAt(dict, from); n < len(dict) {
			return packedPiece{err: err}
		}
	}
	z, err := zstd.NewWriter(nil, encoderOptions(dict)...)
	if err != nil {
		return packedPiece{err: err}
	}
	defer z.Close()
	body := z.EncodeAll(piece, nil)
	var head []byte
	for _, n := range []uint64{uint64(from), uint64(len(dict)), uint64(len(body))} {
		head = binary.AppendUvarint(head, n)
	}
	return packedPiece{frame: slices.Concat(head, body)}
}
