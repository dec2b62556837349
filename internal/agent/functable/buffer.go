//go:build linux

package functable

import "encoding/binary"

// bufferLimit bounds a section; containerd's largest has 8 MB.
const bufferLimit = 128 << 20

// buffer is a section being written. Writing a text or a block panics if it has grown too
// large.
type buffer struct{ b []byte }

func (w *buffer) bytes(b ...byte) { w.b = append(w.b, b...) }
func (w *buffer) u16(v uint16)    { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *buffer) u32(v uint32)    { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *buffer) u64(v uint64)    { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *buffer) uleb(v uint64)   { w.b = binary.AppendUvarint(w.b, v) }

func (w *buffer) sleb(v int64) {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			w.bytes(b)
			return
		}
		w.bytes(b | 0x80)
	}
}

// text writes a string, which has no zero byte.
func (w *buffer) text(s string) {
	w.b = append(append(w.b, s...), 0)
	w.checkSize()
}

// expression writes a DWARF expression with its length.
func (w *buffer) expression(b ...byte) {
	w.uleb(uint64(len(b)))
	w.bytes(b...)
}

// sized writes a block that begins with its own length.
func (w *buffer) sized(block []byte) {
	w.u32(uint32(len(block)))
	w.bytes(block...)
	w.checkSize()
}

func (w *buffer) checkSize() {
	if len(w.b) > bufferLimit {
		panic("too much debug information")
	}
}
