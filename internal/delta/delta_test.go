package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/delta"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program returns data that resembles a program: incompressible code, with addresses that
// are moved by the given number of bytes.
func program(size, moved int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for i := 0; i+4 <= size; i += 64 {
		binary.LittleEndian.PutUint32(b[i:], uint32(i+moved))
	}
	return b
}

// section returns a reader of b, or nil for nil.
func section(b []byte) *io.SectionReader {
	if b == nil {
		return nil
	}
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func pack(t *testing.T, file, former []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := delta.Write(&out, bytes.NewReader(file), section(former)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Each file arrives unchanged, and its encoding has at most the given size.
func TestWrite(t *testing.T) {
	const size = 2<<20 + 12345
	old := program(size, 0)
	for _, tt := range []struct {
		name         string
		file, former []byte
		most         int
	}{
		{"no former file", old, nil, size + size/1000},
		{"empty former file", old, []byte{}, size + size/1000},
		{"tiny former file", old, []byte("abc"), size + size/1000},
		{"unrelated former file", old, bytes.Repeat([]byte("other"), 1000), size + size/1000},
		{"identical", old, old, size / 500},
		{"one byte inserted", slices.Concat(old[:1<<20], []byte("x"), old[1<<20:]), old, size / 500},
		{"every address moved", program(size, 32), old, size / 5},
		{"a megabyte inserted", slices.Concat(old[:1<<20], program(1<<20, 99), old[1<<20:]), old, 3 << 19},
		{"a megabyte deleted", old[1<<20:], old, 1 << 18},
		{"empty file", []byte{}, old, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packed := pack(t, tt.file, tt.former)
			got, err := io.ReadAll(delta.NewReader(iotest.HalfReader(bytes.NewReader(packed)), section(tt.former)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, tt.file) {
				t.Errorf("the %d bytes read differ from the %d written", len(got), len(tt.file))
			}
			if len(packed) > tt.most {
				t.Errorf("encoded %d bytes as %d, want at most %d", len(tt.file), len(packed), tt.most)
			}
		})
	}
}

// Write returns errors of the file, of its writer and of the former file, and leaves no
// goroutine behind.
func TestWriteFails(t *testing.T) {
	file, broken := program(2<<20, 0), errors.New("broken")
	half := io.MultiReader(bytes.NewReader(file[:1<<20]), iotest.ErrReader(broken))
	if err := delta.Write(io.Discard, half, nil); !errors.Is(err, broken) {
		t.Errorf("broken file: %v, want %v", err, broken)
	}
	r, w := io.Pipe()
	r.CloseWithError(broken)
	if err := delta.Write(w, bytes.NewReader(file), nil); !errors.Is(err, broken) {
		t.Errorf("broken writer: %v, want %v", err, broken)
	}
	short := io.NewSectionReader(bytes.NewReader(file[:1<<20]), 0, 2<<20)
	if err := delta.Write(io.Discard, bytes.NewReader(file), short); err == nil {
		t.Error("no error for a former file that ends early")
	}
}

// NewReader fails on malformed input.
func TestReadMalformed(t *testing.T) {
	former := program(1<<20, 0)
	good := pack(t, program(1<<20, 32), former)
	numbers := func(all ...uint64) (b []byte) {
		for _, n := range all {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	bomb := func(size int) []byte {
		var frame bytes.Buffer
		z, err := zstd.NewWriter(&frame, zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		_, err = z.Write(make([]byte, size))
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return slices.Concat(numbers(0, 0, uint64(frame.Len())), frame.Bytes())
	}
	for _, tt := range []struct {
		name   string
		stream []byte
		former []byte
		want   string
	}{
		{"ends in a number", good[:1], former, "unexpected EOF"},
		{"ends in a piece", good[:len(good)-1], former, "unexpected EOF"},
		{"dictionary after the end", numbers(1<<20-10, 20, 1), former, "dictionary of 20 bytes: unexpected EOF"},
		{"dictionary far after the end", numbers(1<<61, 20, 1), former, "dictionary of 20 bytes: unexpected EOF"},
		{"dictionary that wraps around", numbers(1<<63, 20, 1), former, "start of a dictionary"},
		{"dictionary too large", numbers(0, 1<<20, 1), former, "length of a dictionary"},
		{"dictionary without a former file", numbers(0, 20, 1), nil, "no former file"},
		{"frame too large", numbers(0, 0, 1<<40), former, "length of a piece"},
		{"endless number", bytes.Repeat([]byte{0xff}, 20), former, "overflows"},
		{"not a zstd frame", numbers(0, 0, 4, 1, 2, 3, 4), former, "a piece"},
		{"empty frame", numbers(0, 0, 0), former, "empty piece"},
		{"decompression bomb", bomb(100 << 20), nil, "a piece"},
		{"piece slightly too large", bomb(256<<10 + 1), nil, "a piece"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := io.ReadAll(delta.NewReader(bytes.NewReader(tt.stream), section(tt.former)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// For any input reading ends, and no piece exceeds the maximum size.
func FuzzRead(f *testing.F) {
	former := program(20<<10, 0)
	var packed bytes.Buffer
	if err := delta.Write(&packed, bytes.NewReader(program(20<<10, 32)), section(former)); err != nil {
		f.Fatal(err)
	}
	f.Add(packed.Bytes())
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		n, _ := io.Copy(io.Discard, delta.NewReader(bytes.NewReader(stream), section(former)))
		if most := int64(len(stream)) << 18; n > most {
			t.Errorf("read %d bytes from %d, want at most %d", n, len(stream), most)
		}
	})
}
