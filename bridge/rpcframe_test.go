package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dapbridge/dapbridge/pathmap"
)

func TestRequestReader(t *testing.T) {
	const stream = `{"a":"}\"{\\"}` + "\n \t\r\n" + `{}{"b":[{"c":[[]]}],"d":"[\\\\"}{"e":"` + "\u00e9" + `"}`
	want := []string{`{"a":"}\"{\\"}`, `{}`, `{"b":[{"c":[[]]}],"d":"[\\\\"}`, `{"e":"` + "\u00e9" + `"}`}
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(stream),
		"a byte each":  iotest.OneByteReader(strings.NewReader(stream)),
		"error behind": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		v := newRequestReader(r, 100)
		for _, w := range want {
			if got, err := v.read(); err != nil || string(got) != w {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, w)
			}
		}
		if got, err := v.read(); err != io.EOF {
			t.Errorf("%s: at the end: %q, %v", name, got, err)
		}
	}
}

func TestRequestReaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		stream string
		want   error
	}{
		{`[]`, errNotObject},
		{`7`, errNotObject},
		{"\x00", errMalformed},
		{`{"a":[}`, errMalformed},
		{`{"a":"` + strings.Repeat("x", 100) + `"}`, errBodySize},
		{`{"a":"` + strings.Repeat("x", 40000), errBodySize},
		{`{"a":`, io.ErrUnexpectedEOF},
		{"", io.EOF},
		{" \n", io.EOF},
	} {
		if got, err := newRequestReader(strings.NewReader(tt.stream), 100).read(); !errors.Is(err, tt.want) {
			t.Errorf("%.80q: got %q, %v, want %v", tt.stream, got, err, tt.want)
		}
	}
}

func TestLineReader(t *testing.T) {
	const stream = `{"a":1}` + "\n\n" + `{"b":"\n"}` + "\r\n" + `[`
	for name, r := range map[string]io.Reader{
		"at once":     strings.NewReader(stream),
		"a byte each": iotest.OneByteReader(strings.NewReader(stream)),
	} {
		l := newLineReader(r, 100)
		for _, want := range []string{`{"a":1}`, ``, `{"b":"\n"}` + "\r"} {
			if got, err := l.read(); err != nil || string(got) != want {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
			}
		}
		if got, err := l.read(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: at the end: %q, %v", name, got, err)
		}
	}
	for stream, want := range map[string]error{
		"":                              io.EOF,
		strings.Repeat("x", 101) + "\n": errBodySize,
		strings.Repeat("x", 40000):      errBodySize,
	} {
		if got, err := newLineReader(strings.NewReader(stream), 100).read(); !errors.Is(err, want) {
			t.Errorf("%.80q: got %q, %v, want %v", stream, got, err, want)
		}
	}
}

// TestRequestReaderDropsLargeBuffers checks that a large message's buffer is not kept.
func TestRequestReaderDropsLargeBuffers(t *testing.T) {
	large := `{"a":"` + strings.Repeat("x", 4<<20) + `"}`
	v := newRequestReader(strings.NewReader(large+`{}`+strings.Repeat(" ", 5<<20)+`{}`), 8<<20)
	for range 3 {
		if _, err := v.read(); err != nil {
			t.Fatal(err)
		}
	}
	if rest, _ := io.ReadAll(v.dec.Buffered()); cap(v.msg)+len(rest) > keepBuffer {
		t.Errorf("%d bytes are kept", cap(v.msg)+len(rest))
	}
}

// FuzzRequestReader compares what is read and accepted with encoding/json's decoder,
// however the bytes arrive.
func FuzzRequestReader(f *testing.F) {
	f.Add([]byte(`{"method":"RPCServer.State","params":[{"NonBlocking":true}],"id":1}{"id":2}`))
	f.Add([]byte(`{"a":"\u007b\\"} {"b":[[]]}`))
	f.Add([]byte(`{"a":1]{}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, bytewise := newRequestReader(bytes.NewReader(stream), 1<<20), newRequestReader(iotest.OneByteReader(bytes.NewReader(stream)), 1<<20)
		dec := json.NewDecoder(bytes.NewReader(stream))
		for {
			got, err := whole.read()
			same, sameErr := bytewise.read()
			if !bytes.Equal(got, same) || (err == nil) != (sameErr == nil) {
				t.Fatalf("%q, %v at once and %q, %v a byte each", got, err, same, sameErr)
			}
			if err == nil {
				_, err = scanRPC(got)
			}
			var want json.RawMessage
			wantErr := dec.Decode(&want)
			if err == nil && (wantErr != nil || !bytes.Equal(got, want)) {
				t.Fatalf("got %q, want %q, %v", got, want, wantErr)
			}
			if err != nil {
				if wantErr == nil && isUnambiguous(want) {
					t.Fatalf("%v, but there is %q", err, want)
				}
				return
			}
		}
	})
}

// isUnambiguous reports whether a value is an object that does not nest too deeply and
// has each member of a JSON-RPC message at most once.
func isUnambiguous(value json.RawMessage) bool {
	var members map[string]json.RawMessage
	if value[0] != '{' || pathmap.SkipValue(value, 0) < 0 || json.Unmarshal(value, &members) != nil {
		return false
	}
	for _, name := range []string{"method", "id", "params", "result", "error"} {
		if bytes.Count(bytes.ToLower(value), []byte(name)) > 1 {
			return false
		}
		for m := range members {
			if m != name && strings.EqualFold(m, name) {
				return false
			}
		}
	}
	var method struct{ Method *string }
	return json.Unmarshal(value, &method) == nil && !bytes.Contains(value, []byte(`\`))
}
