package exe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const (
	linesLimit = 1 << 18  // lines of one file that have code
	stepsLimit = 64 << 20 // steps of the value tables that are read for one file
)

// Lines returns the lines of a source file for which the executable has code,
// ascending; nil if it has no code of that file. file is the path that the compiler
// recorded.
func (x *File) Lines(file string) (lines []int, err error) {
	err = withELF(x.r, func(e executable) error {
		lines, err = e.findLines(file)
		return err
	})
	return lines, err
}

func (e executable) findLines(file string) (lines []int, err error) {
	err = errors.New("no table of functions")
	for data := range e.pclntabs() {
		// This may only look like a table; then the next candidate may be the right one.
		err = guard(func() error {
			t, err := newPclntab(data, e.ByteOrder)
			if err == nil {
				lines, err = t.findLines(file)
			}
			return err
		})
		if err == nil && len(lines) > 0 {
			return lines, nil
		}
	}
	if err != nil {
		return nil, diag.Errorf(diag.TargetNotGo, "malformed executable: %w", err)
	}
	return nil, nil
}

// findLines reads, for every function, the tables of files and of lines by program
// counter, to find code of the file even where it was inlined.
func (t *pclntab) findLines(file string) ([]int, error) {
	names := t.table(2)
	want := bytes.Index(names, append([]byte(file), 0))
	for want > 0 && names[want-1] != 0 { // it is the end of another name
		next := bytes.Index(names[want+1:], append([]byte(file), 0))
		if next < 0 {
			return nil, nil
		}
		want += 1 + next
	}
	if want < 0 {
		return nil, nil
	}
	units, values, funcs := t.table(1), t.table(3), t.table(4)
	found := map[int]bool{}
	left := stepsLimit
	for i := range t.funcs {
		fn := funcs[t.readUint(funcs[(2*i+1)*t.entry:], t.entry):]
		field := func(n uint64) uint64 { return uint64(t.order.Uint32(fn[t.entry+4*n:])) }
		unit := int64(field(7))
		if unit == 1<<32-1 {
			continue // it belongs to no compile unit
		}
		files, lines := NewPCValues(values[field(4):], 1), NewPCValues(values[field(5):], 1)
		for files.OK && lines.OK {
			if left--; left < 0 || len(found) > linesLimit {
				return nil, errors.New("the table of lines is too large")
			}
			if files.Value >= 0 && t.order.Uint32(units[4*(unit+files.Value):]) == uint32(want) {
				found[int(lines.Value)] = true
			}
			switch {
			case files.End < lines.End:
				files.Next()
			case files.End > lines.End:
				lines.Next()
			default:
				files.Next()
				lines.Next()
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// PCValues reads a table of values by program counter: pairs of the zigzag-encoded
// difference to the last value, which starts at -1, and of the length of its range; see
// (*funcInfo).step in the runtime.
type PCValues struct {
	Value int64
	End   uint64 // of the current value's range, an offset from the function's entry
	OK    bool   // there is a current value

	table   []byte
	quantum uint64 // bytes by which program counters differ at least
}

// NewPCValues starts to read a table. An empty one has no values.
func NewPCValues(table []byte, quantum uint64) *PCValues {
	v := &PCValues{Value: -1, OK: true, table: table, quantum: quantum}
	v.Next()
	return v
}

// Next goes on to the next value.
func (v *PCValues) Next() {
	delta, n := binary.Uvarint(v.table)
	if n <= 0 || delta == 0 && v.End > 0 {
		v.OK = false
		return
	}
	width, m := binary.Uvarint(v.table[n:])
	if m <= 0 || width == 0 {
		v.OK = false
		return
	}
	v.Value += int64(delta>>1) ^ -int64(delta&1)
	v.End += width * v.quantum
	v.table = v.table[n+m:]
}
