package pathmap

import (
	"cmp"
	"io"
	"math"
	"slices"
)

// Edit is one change to a message: Text replaces its bytes from Start to End.
type Edit struct {
	Start, End int
	Text       []byte
}

// Splice appends msg to dst with the edits applied. They must be sorted by position and
// must not overlap; neither must dst and msg.
func Splice(dst, msg []byte, edits ...Edit) []byte {
	done := 0
	for _, e := range edits {
		dst = append(append(dst, msg[done:e.Start]...), e.Text...)
		done = e.End
	}
	return append(dst, msg[done:]...)
}

// Edits are changes to one message, sorted by position and without overlap. There may
// be hundreds of thousands of them, so they hold no pointers and share texts. The zero
// value changes nothing.
type Edits struct {
	list []edit
	text []byte
}

// edit is an [Edit] whose text is text[from:from+size].
type edit struct {
	start, end uint32
	size       uint32
	isResult   bool // in a member "result"
	from       int
}

// maxMessage bounds a message, in bytes, so that its offsets fit an edit.
const maxMessage = math.MaxUint32

// keptEdits is the capacity, in edits, that Reset keeps at most.
const keptEdits = 1 << 14

// Reset empties e for reuse with another message.
func (e *Edits) Reset() {
	if cap(e.list) > keptEdits {
		*e = Edits{}
	}
	e.list, e.text = e.list[:0], e.text[:0]
}

func (e *Edits) Len() int { return len(e.list) }

// Insert adds an edit at its position in the order. The text is copied.
func (e *Edits) Insert(one Edit) {
	from := len(e.text)
	e.text = append(e.text, one.Text...)
	i, _ := slices.BinarySearchFunc(e.list, one.Start, func(x edit, start int) int { return cmp.Compare(int(x.start), start) })
	e.list = slices.Insert(e.list, i, edit{start: uint32(one.Start), end: uint32(one.End), from: from, size: uint32(len(one.Text))})
}

// DropResults removes the edits in members "result", which may hold one of the target's
// values (DAP, Evaluate Request) rather than text for the user.
func (e *Edits) DropResults() {
	e.list = slices.DeleteFunc(e.list, func(one edit) bool { return one.isResult })
}

// Apply appends msg to dst with the edits applied. dst and msg must not overlap.
func (e *Edits) Apply(dst, msg []byte) []byte {
	dst = slices.Grow(dst, e.Size(msg))
	done := 0
	for i := range e.list {
		one := &e.list[i]
		dst = append(dst, msg[done:one.start]...)
		dst = append(dst, e.text[one.from:one.from+int(one.size)]...)
		done = int(one.end)
	}
	return append(dst, msg[done:]...)
}

// WriteEdited writes msg with the edits applied to w, in many small writes. It returns
// w's first error.
func (e *Edits) WriteEdited(w io.Writer, msg []byte) error {
	done := 0
	for i := range e.list {
		one := &e.list[i]
		if _, err := w.Write(msg[done:one.start]); err != nil {
			return err
		}
		if _, err := w.Write(e.text[one.from : one.from+int(one.size)]); err != nil {
			return err
		}
		done = int(one.end)
	}
	_, err := w.Write(msg[done:])
	return err
}

// Size returns the length of msg with the edits applied.
func (e *Edits) Size(msg []byte) int {
	n := len(msg)
	for i := range e.list {
		n += int(e.list[i].size) - int(e.list[i].end-e.list[i].start)
	}
	return n
}

// add appends an edit that replaces the bytes from start to end with the end of e.text,
// from offset from.
func (e *Edits) add(start, end, from int) { e.addText(start, end, from, len(e.text)) }

// addText appends an edit whose text is e.text[from:to].
func (e *Edits) addText(start, end, from, to int) {
	if len(e.list) == cap(e.list) {
		e.list = slices.Grow(e.list, max(len(e.list), 8)) // append would copy more often
	}
	e.list = append(e.list, edit{start: uint32(start), end: uint32(end), from: from, size: uint32(to - from)})
}
