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

// linked is something like a program: code that nothing compresses, with
// addresses in it that are moved by so many bytes.
func linked(size, moved int) []byte {
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

func former(b []byte) *io.SectionReader {
	if b == nil {
		return nil
	}
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func pack(t *testing.T, file, was []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := delta.Write(&out, bytes.NewReader(file), former(was)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestWrite carries files to where another one stands, and says how much may go
// for each.
func TestWrite(t *testing.T) {
	const size = 2<<20 + 12345
	program := linked(size, 0)
	for _, tt := range []struct {
		name      string
		file, was []byte
		most      int
	}{
		{"nothing there", program, nil, size + size/1000},
		{"an empty file there", program, []byte{}, size + size/1000},
		{"three bytes there", program, []byte("abc"), size + size/1000},
		{"another one there", program, bytes.Repeat([]byte("other"), 1000), size + size/1000},
		{"the same", program, program, size / 500},
		{"one byte more", slices.Concat(program[:1<<20], []byte("x"), program[1<<20:]), program, size / 500},
		{"every address moved", linked(size, 32), program, size / 5},
		{"a megabyte put in", slices.Concat(program[:1<<20], linked(1<<20, 99), program[1<<20:]), program, 3 << 19},
		{"a megabyte less", program[1<<20:], program, 1 << 18},
		{"an empty file", []byte{}, program, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packed := pack(t, tt.file, tt.was)
			got, err := io.ReadAll(delta.NewReader(iotest.HalfReader(bytes.NewReader(packed)), former(tt.was)))
			if err != nil || !bytes.Equal(got, tt.file) {
				t.Errorf("%d bytes came, not the %d that were sent; %v", len(got), len(tt.file), err)
			}
			if len(packed) > tt.most {
				t.Errorf("%d bytes went for %d, more than %d", len(packed), len(tt.file), tt.most)
			}
		})
	}
}

// TestWriteFails has either side fail, and leaves no goroutine.
func TestWriteFails(t *testing.T) {
	program, broken := linked(2<<20, 0), errors.New("broken")
	half := io.MultiReader(bytes.NewReader(program[:1<<20]), iotest.ErrReader(broken))
	if err := delta.Write(io.Discard, half, nil); !errors.Is(err, broken) {
		t.Errorf("the file: %v", err)
	}
	r, w := io.Pipe()
	r.CloseWithError(broken)
	if err := delta.Write(w, bytes.NewReader(program), nil); !errors.Is(err, broken) {
		t.Errorf("the wire: %v", err)
	}
	short := io.NewSectionReader(bytes.NewReader(program[:1<<20]), 0, 2<<20)
	if err := delta.Write(io.Discard, bytes.NewReader(program), short); err == nil {
		t.Error("a former file that ends early is taken")
	}
}

// TestReadHostile reads what no Write has written.
func TestReadHostile(t *testing.T) {
	was := linked(1<<20, 0)
	good := pack(t, linked(1<<20, 32), was)
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
		was    []byte
		want   string
	}{
		{"ends in a number", good[:1], was, "unexpected EOF"},
		{"ends in a piece", good[:len(good)-1], was, "unexpected EOF"},
		{"a dictionary behind the end", numbers(1<<20-10, 20, 1), was, "dictionary of 20 bytes: unexpected EOF"},
		{"a dictionary far behind the end", numbers(1<<61, 20, 1), was, "dictionary of 20 bytes: unexpected EOF"},
		{"a dictionary that wraps around", numbers(1<<63, 20, 1), was, "start of a dictionary"},
		{"a dictionary that is too large", numbers(0, 1<<20, 1), was, "length of a dictionary"},
		{"a dictionary of no file", numbers(0, 20, 1), nil, "no former file"},
		{"a frame that is too large", numbers(0, 0, 1<<40), was, "length of a piece"},
		{"an endless number", bytes.Repeat([]byte{0xff}, 20), was, "overflows"},
		{"no frame", numbers(0, 0, 4, 1, 2, 3, 4), was, "a piece"},
		{"an empty frame", numbers(0, 0, 0), was, "empty piece"},
		{"a bomb", bomb(100 << 20), nil, "a piece"},
		{"a piece that is a little too large", bomb(256<<10 + 1), nil, "a piece"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := io.ReadAll(delta.NewReader(bytes.NewReader(tt.stream), former(tt.was)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzRead reads anything: it ends, and a piece is no larger than it may be.
func FuzzRead(f *testing.F) {
	was := linked(20<<10, 0)
	var packed bytes.Buffer
	if err := delta.Write(&packed, bytes.NewReader(linked(20<<10, 32)), former(was)); err != nil {
		f.Fatal(err)
	}
	f.Add(packed.Bytes())
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		n, _ := io.Copy(io.Discard, delta.NewReader(bytes.NewReader(stream), former(was)))
		if most := int64(len(stream)) << 18; n > most {
			t.Errorf("%d bytes came out of %d", n, len(stream))
		}
	})
}
