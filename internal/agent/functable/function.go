//go:build linux

package functable

import (
	"bytes"
	"encoding/binary"
	"sort"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// function is one entry of the function table (runtime/runtime2.go, _func).
type function struct {
	name       string
	entry, end uint64
	unit       uint32 // of the list of units, where its compile unit's files start; noUnit if it has none
	flag       uint8
	sp         []byte // values of the frame's size
	rows       []row
	inlined    uint64 // address of the descriptions of inlined calls, 0 if there are none
}

const noUnit = 1<<32 - 1

// Flags of functions (internal/abi/symtab.go).
const (
	flagTopFrame = 1 << 0
	flagAssembly = 1 << 2
)

// row is a range of a function's code that has one position.
type row struct {
	start, end uint64 // offsets from the function's entry
	file       int64  // index among the files of the unit
	line       int64
	inlined    int64 // index of the innermost inlined call, -1 for none
}

// Indexes of a function's data (internal/abi/symtab.go).
const (
	pcdataInlined   = 2
	funcdataInlined = 3
)

// function reads the i-th function.
func (t *table) function(i uint64) function {
	fn := t.funcs[binary.LittleEndian.Uint32(t.funcs[8*i+4:]):]
	field := func(n uint32) uint32 { return binary.LittleEndian.Uint32(fn[4*n:]) }
	f := function{
		name: t.name(field(1)), entry: t.entry(i), end: t.entry(i + 1), unit: field(8), flag: fn[41],
		sp: t.values[field(4):],
	}
	if f.end < f.entry {
		panic("functions are not in order")
	}
	pcdata, funcdata := field(7), uint32(fn[43])
	var inlined []byte
	if pcdata > pcdataInlined && funcdata > funcdataInlined {
		if values, calls := field(11+pcdataInlined), field(11+pcdata+funcdataInlined); values != 0 && calls != 1<<32-1 {
			inlined, f.inlined = t.values[values:], t.gofunc+uint64(calls)
		}
	}
	t.readRows(&f, t.pcValues(t.values[field(5):]), t.pcValues(t.values[field(6):]), t.pcValues(inlined))
	return f
}

// entryOf returns the address of the function with the name.
func (t *table) entryOf(name string) (addr uint64, ok bool) {
	text := append([]byte(name), 0)
	for i := range t.count {
		fn := t.funcs[binary.LittleEndian.Uint32(t.funcs[8*i+4:]):]
		if bytes.HasPrefix(t.names[binary.LittleEndian.Uint32(fn[4:]):], text) {
			return t.entry(i), true
		}
	}
	return 0, false
}

// readRows merges the three tables of values. The function ends with them; what follows up
// to the next one is padding.
func (t *table) readRows(f *function, files, lines, inlined *exe.PCValues) {
	size := f.end - f.entry
	f.end = f.entry
	for start := uint64(0); start < size && files.OK && lines.OK; {
		r := row{start: start, end: min(files.End, lines.End, size), file: files.Value, line: lines.Value, inlined: -1}
		if inlined.OK {
			r.end, r.inlined = min(r.end, inlined.End), inlined.Value
		}
		if len(f.rows) == rowsLimit {
			panic("a function with too many positions")
		}
		f.rows = append(f.rows, r)
		start = r.end
		t.spend()
		for _, s := range []*exe.PCValues{files, lines, inlined} {
			if s.OK && s.End <= start {
				s.Next()
			}
		}
		f.end = f.entry + start
	}
}

// rowAt returns the row of an offset from the function's entry.
func (f *function) rowAt(offset uint64) row {
	i := sort.Search(len(f.rows), func(i int) bool { return f.rows[i].end > offset })
	return f.rows[i]
}

// file returns the name of a unit's file, "" if the index names none.
func (t *table) file(unit uint32, index int64) string {
	if unit == noUnit || index < 0 {
		return ""
	}
	offset := binary.LittleEndian.Uint32(t.units[4*(int64(unit)+index):])
	if offset == noUnit {
		return ""
	}
	return t.readText(t.paths, t.files, offset)
}

// pcValues reads a table of values by program counter.
func (t *table) pcValues(b []byte) *exe.PCValues { return exe.NewPCValues(b, t.quantum) }
