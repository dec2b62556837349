//go:build linux

package functable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// table is the function table of a Go program, with the module data that describes it
// (runtime/symtab.go, moduledata). It is what the runtime itself uses for tracebacks, so
// stripping keeps it.
type table struct {
	*image
	quantum uint64 // bytes by which program counters differ at least

	names, units, files, values, funcs []byte

	count  uint64 // of functions
	text   uint64 // address that the functions' offsets start at
	gofunc uint64 // address that funcdata offsets start at
	types  span   // type descriptors
	data   []span // where package variables are

	left   int               // what remains of stepsLimit
	memory int               // what remains of memoryLimit
	texts  map[uint32]string // names by their offsets
	paths  map[uint32]string // files by their offsets
}

// spend counts one step of reading.
func (t *table) spend() {
	if t.left--; t.left < 0 {
		panic("the function table is too large")
	}
}

// keep counts bytes that stay in memory. The target may let many functions share one name.
func (t *table) keep(n int) {
	if t.memory -= n; t.memory < 0 {
		panic("the function table takes too much memory")
	}
}

type span struct{ start, end uint64 }

// Limits of what a table may have; a kubelet has 120,000 functions.
const (
	functionsLimit = 4 << 20
	stepsLimit     = 32 << 20 // positions, and inlined calls at each
	nameLimit      = 16 << 10
	memoryLimit    = 64 << 20 // bytes of texts and fields; a kubelet's take 12 MB
	rowsLimit      = 1 << 20  // of a function
)

// magic begins a table since Go 1.20 (internal/abi/symtab.go), up to 1.27 at least.
func magic() []byte { return []byte{0xf1, 0xff, 0xff, 0xff, 0, 0} }

// findTable finds the function table: at its magic number, and with module data that
// points to it.
func findTable(m *image) (*table, error) {
	var t *table
	find(m.segments, magic(), 8, func(header uint64) bool {
		return find(m.segments, binary.LittleEndian.AppendUint64(nil, header+m.base), 8, func(module uint64) bool {
			candidate, err := newTable(m, header, module)
			if err == nil {
				t = candidate
			}
			return err == nil
		})
	})
	if t == nil {
		return nil, errors.New("no function table as Go 1.20 to 1.27 write it")
	}
	return t, nil
}

// Words of the module data. Its beginning is the same in Go 1.20 to 1.27.
const (
	moduleNames  = 1
	moduleUnits  = 4
	moduleFiles  = 7
	moduleValues = 10
	moduleFuncs  = 13
	moduleCount  = 17 // of functions and the end of the last one
	moduleMinPC  = 20
	moduleMaxPC  = 21
	moduleText   = 22
	moduleData   = 26
	moduleBSS    = 28
	moduleTypes  = 37
	moduleWords  = 44
)

// newTable reads the module data and checks that it belongs to the table.
func newTable(m *image, header, module uint64) (t *table, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	m.slice(module, 8*moduleWords)
	word := func(i uint64) uint64 { return m.word(module + 8*i) }
	address := func(i uint64) uint64 { return word(i) - m.base }
	list := func(i, size uint64) []byte { return m.slice(address(i), word(i+1)*size) }
	t = &table{
		image: m, left: stepsLimit, memory: memoryLimit, texts: map[uint32]string{}, paths: map[uint32]string{}, quantum: uint64(m.slice(header, 8)[6]),
		names: list(moduleNames, 1), units: list(moduleUnits, 4), files: list(moduleFiles, 1),
		values: list(moduleValues, 1), funcs: list(moduleFuncs, 1),
		count: word(moduleCount) - 1, text: address(moduleText),
		data: []span{{address(moduleData), address(moduleData + 1)}, {address(moduleBSS), address(moduleBSS + 1)}},
	}
	if t.count == 0 || t.count > functionsLimit || t.count != m.word(header+8) || m.slice(header, 8)[7] != 8 || t.quantum == 0 {
		return nil, errors.New("not its module data")
	}
	if t.entry(0) != address(moduleMinPC) || t.entry(t.count) != address(moduleMaxPC) {
		return nil, errors.New("its text is in several parts")
	}
	return t, t.findTypes(word, address)
}

// findTypes reads the last words that are needed. Go 1.27 has added some between them.
func (t *table) findTypes(word, address func(uint64) uint64) error {
	types, end, gofunc := address(moduleTypes), address(moduleTypes+1), address(moduleTypes+3)
	if !t.contains(types, end-types) || end < types {
		end, gofunc = address(moduleTypes+2), address(moduleTypes+6)
		if word(moduleTypes+1) > end-types {
			return errors.New("unknown module data")
		}
	}
	if !t.contains(types, end-types) || !t.contains(gofunc, 1) {
		return errors.New("unknown module data")
	}
	t.types, t.gofunc = span{types, end}, gofunc
	return nil
}

// entry returns the address of the i-th function, or where the last one ends.
func (t *table) entry(i uint64) uint64 {
	return t.text + uint64(binary.LittleEndian.Uint32(t.funcs[8*i:]))
}

// name returns the name at an offset. Names begin after the end of another one.
func (t *table) name(offset uint32) string {
	if offset > 0 && t.names[offset-1] != 0 {
		panic("malformed name")
	}
	return t.readText(t.texts, t.names, offset)
}

// readText returns the text at an offset, out of those that are known if it is there.
func (t *table) readText(known map[uint32]string, b []byte, offset uint32) string {
	if text, ok := known[offset]; ok {
		return text
	}
	b = b[offset:]
	text, _, ok := bytes.Cut(b[:min(len(b), nameLimit)], []byte{0})
	if !ok {
		panic("a text without an end")
	}
	const entry = 64 // bytes of a map's, about
	t.keep(len(text) + entry)
	known[offset] = string(text)
	return known[offset]
}
