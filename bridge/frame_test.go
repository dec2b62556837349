package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-dap"
)

func TestFrameReaderReads(t *testing.T) {
	big := strings.Repeat("x", 3<<20)
	for _, c := range []struct{ name, stream, want string }{
		{"one", "Content-Length: 2\r\n\r\n{}", "{}"},
		{"two", "Content-Length: 1\r\n\r\n1Content-Length: 2\r\n\r\n22", "1|22"},
		{"empty", "Content-Length: 0\r\n\r\nContent-Length: 1\r\n\r\n1", "|1"},
		{"other fields", "Content-Type: x; y\r\nContent-Length: 2\r\nX-A:\r\n\r\n{}", "{}"},
		{"case and space", "content-LENGTH:\t2 \r\n\r\n{}", "{}"},
		{"zeros", "Content-Length: 002\r\n\r\n{}", "{}"},
		{"line ends in the body", "Content-Length: 4\r\n\r\n\r\n\r\n", "\r\n\r\n"},
		{"large, then small", "Content-Length: 3145728\r\n\r\n" + big + "Content-Length: 2\r\n\r\n{}", big + "|{}"},
	} {
		for name, r := range map[string]io.Reader{
			"whole":     strings.NewReader(c.stream),
			"in halves": iotest.HalfReader(strings.NewReader(c.stream)),
			"with EOF":  iotest.DataErrReader(strings.NewReader(c.stream)),
		} {
			got, err := readFrames(newFrameReader(r, 1<<10, 4<<20))
			if strings.Join(got, "|") != c.want || err != io.EOF {
				t.Errorf("%s, %s: got %.80q, %v", c.name, name, got, err)
			}
		}
	}
}

// readFrames reads messages until the first error.
func readFrames(f *frameReader) (bodies []string, err error) {
	for {
		body, err := f.read()
		if err != nil {
			return bodies, err
		}
		bodies = append(bodies, string(body))
	}
}

func TestFrameReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		stream string
		want   error
		text   string
	}{
		{"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", errHTTP, `"GET /x HTTP/1.1\r\n"`},
		{"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", errHTTP, "POST"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", errHTTP, "PRI"},
		{"BREW http://x:1/ HTTP/1.0\r\n", errHTTP, "BREW"},
		{"GET /\r\n", errHTTP, "GET"},
		{"GET " + strings.Repeat("a", 300), errHTTP, "GET"},
		{"OPTIONS /", errHTTP, "OPTIONS"},
		{"Content-Length: 2\n\n{}", errHeaderLine, `does not end in \r\n`},
		{"\x16\x03\x01\x02\r\n", errHeaderLine, `"\x16\x03\x01\x02"`},
		{"Content-Length 2\r\n\r\n{}", errHeaderLine, "Content-Length 2"},
		{"Content-Length : 2\r\n\r\n{}", errHeaderLine, "Content-Length : 2"},
		{": 2\r\n\r\n{}", errHeaderLine, ": 2"},
		{"\r\n", errLength, "the header has none"},
		{"Content-Type: x\r\n\r\n{}", errLength, "the header has none"},
		{"Content-Length: -1\r\n\r\n", errLength, "-1"},
		{"Content-Length: +1\r\n\r\n1", errLength, "+1"},
		{"Content-Length: 0x1\r\n\r\n1", errLength, "0x1"},
		{"Content-Length: 1_0\r\n\r\n1", errLength, "1_0"},
		{"Content-Length: 1.0\r\n\r\n1", errLength, "1.0"},
		{"Content-Length:\r\n\r\n", errLength, "Content-Length:"},
		{"Content-Length: 99999999999999999999\r\n\r\n", errLength, "9999"},
		{"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1", errLength, "twice"},
		{"Content-Length: 1025\r\n\r\n", errBodySize, "1025 bytes, at most 1024 are allowed"},
		{"X: " + strings.Repeat("a", 300) + "\r\n\r\n", errHeaderSize, "over 256 bytes"},
		{strings.Repeat("X: a\r\n", 100), errHeaderSize, "over 256 bytes"},
		{strings.Repeat("a", 300), errHeaderSize, "over 256 bytes"},
		{"Content-Le", io.ErrUnexpectedEOF, "header"},
		{"Content-Length: 2\r\n", io.ErrUnexpectedEOF, "header"},
		{"Content-Length: 2\r\n\r\n", io.ErrUnexpectedEOF, "body, 0 of 2 bytes"},
		{"Content-Length: 2\r\n\r\n{", io.ErrUnexpectedEOF, "body, 1 of 2 bytes"},
	} {
		body, err := newFrameReader(strings.NewReader(c.stream), 256, 1024).read()
		if body != nil {
			t.Errorf("%.80q: got the body %q with the error %v", c.stream, body, err)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%.80q: error %v, want %v", c.stream, err, c.want)
		} else if !strings.Contains(err.Error(), c.text) {
			t.Errorf("%.80q: error %v, want %q in it", c.stream, err, c.text)
		}
	}
}

func TestFrameReaderPassesOnErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, start := range []string{"", "Content-Length: 2\r\n", "Content-Length: 2\r\n\r\n{"} {
		r := io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken))
		if _, err := newFrameReader(r, 256, 1024).read(); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", start, err)
		}
	}
}

// A header alone must not make the reader allocate what it announces.
func TestFrameReaderGrowsAsBytesCome(t *testing.T) {
	f := newFrameReader(strings.NewReader("Content-Length: 268435456\r\n\r\nx"), maxHeader, DefaultMaxBody)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := f.read()
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, io.ErrUnexpectedEOF) || allocated > 4*keepBuffer {
		t.Errorf("%d bytes allocated, then %v", allocated, err)
	}
}

func TestFrameReaderReusesItsBuffers(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	f := newFrameReader(ours, maxHeader, DefaultMaxBody)
	read := func(n int) *byte {
		t.Helper()
		go newFrameWriter(theirs).write(bytes.Repeat([]byte("x"), n))
		body, err := f.read()
		if err != nil || len(body) != n {
			t.Fatalf("%d bytes, %v; want %d", len(body), err, n)
		}
		return &body[0]
	}
	large, small := read(3*keepBuffer), read(100)
	if read(50) != small || read(2*keepBuffer) != large {
		t.Error("a message got a buffer of its own where the last one would do")
	}
	for range keepFor {
		read(50)
	}
	if read(50); f.large != nil {
		t.Error("a large buffer is kept while nobody needs it")
	}
	read(keepLarge + 1)
	if read(50); f.large != nil {
		t.Error("a very large buffer is kept")
	}
}

// countWriter counts the calls of Write.
type countWriter struct {
	bytes.Buffer
	calls int
}

func (w *countWriter) Write(p []byte) (int, error) {
	w.calls++
	return w.Buffer.Write(p)
}

func TestFrameWriter(t *testing.T) {
	for _, c := range []struct{ size, calls int }{{0, 1}, {1, 1}, {64<<10 - 1, 1}, {64 << 10, 2}, {5 << 20, 2}} {
		var w countWriter
		body := bytes.Repeat([]byte("x"), c.size)
		if err := newFrameWriter(&w).write(body); err != nil {
			t.Fatal(err)
		}
		want := "Content-Length: " + strconv.Itoa(c.size) + "\r\n\r\n" + string(body)
		if w.String() != want || w.calls != c.calls {
			t.Errorf("%d bytes: wrote %.40q in %d calls", c.size, w.String(), w.calls)
		}
	}
}

func TestFrameWriterSaysWhatFailed(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(io.ErrClosedPipe)
	for _, size := range []int{1, 1 << 20} {
		err := newFrameWriter(w).write(make([]byte, size))
		if !errors.Is(err, io.ErrClosedPipe) || !strings.Contains(err.Error(), "write message") {
			t.Errorf("got %v", err)
		}
	}
}

// FuzzFrameReader checks that every message that go-dap can read is read alike, and that
// no stream makes the reader panic or hang.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte("Content-Length: 2\r\n\r\n{}Content-Length: 1\r\n\r\n1"))
	f.Add([]byte("Content-Length: 007\r\n\r\n1234567"))
	f.Add([]byte("content-length:2\r\nX: y\r\n\r\n{}"))
	f.Add([]byte("GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("Content-Length: 9223372036854775807\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		const maxBody = 4 << 20 // go-dap's
		got, err := readFrames(newFrameReader(bytes.NewReader(stream), maxHeader, maxBody))
		if err == nil {
			t.Fatal("no end")
		}
		ref := bufio.NewReader(bytes.NewReader(stream))
		for i := 0; ; i++ {
			want, refErr := dap.ReadBaseMessage(ref)
			if refErr != nil {
				return
			}
			if len(stream) < maxHeader && (i >= len(got) || got[i] != string(want)) {
				t.Fatalf("message %d: go-dap reads %q, the bridge %q, %v", i, want, got, err)
			}
		}
	})
}

// FuzzFrameRoundTrip writes a body and reads it back from a stream that arrives in
// pieces.
func FuzzFrameRoundTrip(f *testing.F) {
	f.Add([]byte(`{"seq":1}`), uint64(1))
	f.Add([]byte{}, uint64(2))
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		var stream bytes.Buffer
		w := newFrameWriter(&stream)
		for range 2 {
			if err := w.write(body); err != nil {
				t.Fatal(err)
			}
		}
		pieces := &pieceReader{r: &stream, rand: rand.New(rand.NewPCG(seed, 0))}
		got, err := readFrames(newFrameReader(pieces, maxHeader, DefaultMaxBody))
		if err != io.EOF {
			t.Fatalf("the stream ends with %v, want EOF", err)
		}
		if want := []string{string(body), string(body)}; !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// pieceReader is a reader of r whose reads are short, at random.
type pieceReader struct {
	r    io.Reader
	rand *rand.Rand
}

func (p *pieceReader) Read(b []byte) (int, error) {
	return p.r.Read(b[:min(len(b), 1+p.rand.IntN(64))])
}

func BenchmarkFrameReader(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 20_000)
	var one bytes.Buffer
	if err := newFrameWriter(&one).write(body); err != nil {
		b.Fatal(err)
	}
	stream := bytes.Repeat(one.Bytes(), 100)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		f := newFrameReader(bytes.NewReader(stream), maxHeader, DefaultMaxBody)
		for range 100 {
			if _, err := f.read(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
