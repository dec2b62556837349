//go:build linux

package functable

import (
	"encoding/binary"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestInlinedCalls checks calls by where their site is: in the caller, in another inlined
// call, or in the call itself, of which nothing can be said then.
func TestInlinedCalls(t *testing.T) {
	const addr = 0x1000
	for name, tt := range map[string]struct {
		sites []uint32 // offsets from the function's entry, of each call
		want  string
	}{
		"in the function":    {[]uint32{15, 15}, "a a"},
		"one in the other":   {[]uint32{5, 15}, "a(a)"},
		"in itself":          {[]uint32{5, 5}, ""},
		"each in the other":  {[]uint32{5, 2}, ""},
		"one of two in both": {[]uint32{15, 2}, "a(a)"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []byte
			for _, site := range tt.sites {
				call := make([]byte, 16)
				binary.LittleEndian.PutUint32(call[4:], 1)
				binary.LittleEndian.PutUint32(call[8:], site)
				calls = append(calls, call...)
			}
			table := &table{
				image: &image{segments: []segment{{addr, calls}}}, names: []byte("\x00a\x00"),
				left: stepsLimit, memory: memoryLimit, texts: map[uint32]string{},
			}
			f := &function{inlined: addr, rows: []row{{0, 4, 0, 1, 0}, {4, 8, 0, 2, 1}, {8, 20, 0, 3, -1}}}
			testenv.Equal(t, "calls", describeCalls(table.inlinedCalls(f)), tt.want)
		})
	}
}

// describeCalls returns the names of calls, each with those inside of it.
func describeCalls(calls []*inlinedCall) (text string) {
	for _, c := range calls {
		if text != "" {
			text += " "
		}
		text += c.name
		if len(c.children) > 0 {
			text += "(" + describeCalls(c.children) + ")"
		}
	}
	return text
}
