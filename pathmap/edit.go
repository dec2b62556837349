package pathmap

import (
	"cmp"
	"slices"
)

// Edit is one change to a message: Text takes the place of its bytes from Start
// to End.
type Edit struct {
	Start, End int
	Text       []byte

	// Result says that the change is in a member "result", which may be a value of
	// the target's (DAP, Evaluate Request), and not text for people.
	Result bool
}

// Edits are the changes that make a message another one, in the order of their
// places and without overlap. The zero value is none.
type Edits struct {
	List []Edit

	text []byte // of List, as far as it had room
}

// keptEdits is how many edits Reset keeps room for.
const keptEdits = 1 << 12

// Reset empties e for another message. What was in it is no longer valid.
func (e *Edits) Reset() {
	if cap(e.List) > keptEdits {
		*e = Edits{}
	}
	e.List, e.text = e.List[:0], e.text[:0]
}

// Insert puts one more edit into its place.
func (e *Edits) Insert(one Edit) {
	i, _ := slices.BinarySearchFunc(e.List, one, func(a, b Edit) int { return cmp.Compare(a.Start, b.Start) })
	e.List = slices.Insert(e.List, i, one)
}

// DropResults takes the changes away that are in a member "result".
func (e *Edits) DropResults() {
	e.List = slices.DeleteFunc(e.List, func(one Edit) bool { return one.Result })
}

// Apply appends msg to dst with the edits made; they must be in order. dst and
// msg must not overlap.
func Apply(dst, msg []byte, edits []Edit) []byte {
	dst = slices.Grow(dst, Size(msg, edits))
	done := 0
	for _, e := range edits {
		dst = append(append(dst, msg[done:e.Start]...), e.Text...)
		done = e.End
	}
	return append(dst, msg[done:]...)
}

// Size is how many bytes Apply appends.
func Size(msg []byte, edits []Edit) int {
	n := len(msg)
	for _, e := range edits {
		n += len(e.Text) - (e.End - e.Start)
	}
	return n
}

// add puts what has been appended to e.text from offset from on into the place of
// the bytes from start to end.
func (e *Edits) add(start, end, from int) {
	to := len(e.text)
	e.List = append(e.List, Edit{Start: start, End: end, Text: e.text[from:to:to]})
}
