// Package delta carries a file to where a former one stands by what differs
// between the two, when both ends have the former one.
//
// The file goes in pieces. Each is compressed by zstd, with the part of the
// former file that it resembles as its dictionary. So both ends hold some
// megabytes whatever the size of the files, and a program that was linked anew,
// where every address behind an edit is another one, costs little more than its
// edit: the addresses alone differ, and the rest of each line is in the
// dictionary.
//
// The stream is one frame a piece, to the end of the input: three numbers in the
// form of [encoding/binary.AppendUvarint], which are the start and the length of
// the dictionary in the former file and the length of what follows, and that: a
// zstd frame (RFC 8878).
package delta

import "github.com/klauspost/compress/zstd"

const (
	// pieceSize is how much of the file is in a piece; the last one is shorter.
	pieceSize = 256 << 10
	// slack is how far to both sides a dictionary goes beyond where its piece is
	// thought to have been.
	slack = 32 << 10
	// dictSize is the most of a dictionary.
	dictSize = pieceSize + 2*slack
	// windowSize is how far back a match may reach: over a piece and its
	// dictionary, as a power of two.
	windowSize = 1 << 20
	// packedSize is the most of a frame: what can't be compressed is stored, with
	// a few bytes for each 128 kB (RFC 8878, 3.1.1.2).
	packedSize = pieceSize + 1<<10
)

func encoderOptions(dict []byte) []zstd.EOption {
	opts := []zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(windowSize), zstd.WithEncoderCRC(false), // the whole file has a stronger sum
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
