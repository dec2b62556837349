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

func TestValueReader(t *testing.T) {
	const stream = `{"a":"}\"{\\"}` + "\n \t\r\n" + `{}{"b":[{"c":[[]]}],"d":"[\\\\"}{"e":"` + "\u00e9" + `"}`
	want := []string{`{"a":"}\"{\\"}`, `{}`, `{"b":[{"c":[[]]}],"d":"[\\\\"}`, `{"e":"` + "\u00e9" + `"}`}
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(stream),
		"a byte each":  iotest.OneByteReader(strings.NewReader(stream)),
		"error behind": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		v := newValueReader(r, 100)
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

func TestValueReaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		stream string
		want   error
	}{
		{`[]`, errNoObject},
		{`7`, errNoObject},
		{"\x00", errNoObject},
		{`{"a":1]`, errMalformed},
		{`{a}`, errMalformed},
		{`{"a":tru}`, errMalformed},
		{`{"a":"` + "\n" + `"}`, errMalformed},
		{`{` + strings.Repeat("[", 600), errMalformed},
		{`{"a":"` + strings.Repeat("x", 100) + `"}`, errBodySize},
		{`{"a":"` + strings.Repeat("x", 40000), errBodySize},
		{`{"a":`, io.ErrUnexpectedEOF},
		{"", io.EOF},
		{" \n", io.EOF},
	} {
		if got, err := newValueReader(strings.NewReader(tt.stream), 100).read(); !errors.Is(err, tt.want) {
			t.Errorf("%.80q: got %q, %v, want %v", tt.stream, got, err, tt.want)
		}
	}
}

// TestValueReaderLetsGo sees that a large message's buffer is not kept.
func TestValueReaderLetsGo(t *testing.T) {
	large := `{"a":"` + strings.Repeat("x", 4<<20) + `"}`
	v := newValueReader(strings.NewReader(large+`{}`+strings.Repeat(" ", 5<<20)+`{}`), 8<<20)
	for range 3 {
		if _, err := v.read(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(v.buf) > keepBuffer {
		t.Errorf("%d bytes are kept", cap(v.buf))
	}
}

// FuzzValueReader compares the reader with encoding/json's, however the bytes
// come.
func FuzzValueReader(f *testing.F) {
	f.Add([]byte(`{"method":"RPCServer.State","params":[{"NonBlocking":true}],"id":1}{"id":2}`))
	f.Add([]byte(`{"a":"\u007b\\"} {"b":[[]]}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, bytewise := newValueReader(bytes.NewReader(stream), 1<<20), newValueReader(iotest.OneByteReader(bytes.NewReader(stream)), 1<<20)
		dec := json.NewDecoder(bytes.NewReader(stream))
		for {
			got, err := whole.read()
			same, sameErr := bytewise.read()
			if !bytes.Equal(got, same) || (err == nil) != (sameErr == nil) {
				t.Fatalf("%q, %v at once and %q, %v a byte each", got, err, same, sameErr)
			}
			var want json.RawMessage
			wantErr := dec.Decode(&want)
			if err != nil {
				if wantErr == nil && want[0] == '{' && pathmap.SkipValue(want, 0) > 0 {
					t.Fatalf("%v, but there is %q", err, want)
				}
				return
			}
			if wantErr != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %q, want %q, %v", got, want, wantErr)
			}
		}
	})
}
