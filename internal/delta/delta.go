// Package delta encodes a file as its differences from a former one, which both ends
// have.
//
// The file is sent in pieces. Each is compressed by zstd, with the most similar part of
// the former file as its dictionary. So both ends need only a few megabytes of memory,
// whatever the size of the files. A relinked program, in which every address after an
// edit has changed, costs little more than the edit: only the addresses differ, and the
// bytes between them are in the dictionary.
//
// The stream has one frame for each piece and ends with the input. A frame is three
// numbers, encoded by [encoding/binary.AppendUvarint], followed by a zstd frame (RFC
// 8878). The numbers are the start and the length of the dictionary in the former file,
// and the length of the zstd frame.
package delta

import "github.com/klauspost/compress/zstd"

const (
	// pieceSize is the size of a piece. The last one may be shorter.
	pieceSize = 256 << 10
	// slack is how far a dictionary extends, on both sides, beyond the expected place
	// of its piece in the former file.
	slack = 32 << 10
	// dictSize is the maximum size of a dictionary.
	dictSize = pieceSize + 2*slack
	// windowSize is how far back a match may reach: a power of two that covers a piece
	// and its dictionary.
	windowSize = 1 << 20
	// packedSize is the maximum size of a zstd frame. Incompressible data is stored,
	// with a few bytes more for each 128 kB (RFC 8878, 3.1.1.2).
	packedSize = pieceSize + 1<<10
)

func encoderOptions(dict []byte) []zstd.EOption {
	opts := []zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(windowSize), zstd.WithEncoderCRC(false), // the file as a whole has a stronger checksum
	}
	if len(dict) > 0 {
		opts = append(opts, zstd.WithEncoderDictRaw(0, dict))
	}
	return opts
}

func decoderOptions(dict []byte) []zstd.DOption {
	opts := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowSize),
		zstd.WithDecodeAllCapLimit(true),
	}
	if len(dict) > 0 {
		opts = append(opts, zstd.WithDecoderDictRaw(0, dict))
	}
	return opts
}
