package exe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"iter"
)

const (
	pclntabLimit    = 256 << 20 // a large table has 40 MB
	candidatesLimit = 16        // places that may be tried as a table
	functionsLimit  = 4 << 20
	pathLimit       = 4 << 10
	namesBudget     = 256 << 20 // bytes of all functions' names
)

// pclntab is Go's table of functions and source files, which stripping keeps; see
// internal/abi/symtab.go and cmd/link/internal/ld/pcln.go in Go. debug/gosym reads it
// too but copies every function's name, which takes quadratic time for a crafted
// table. Methods panic if the table is malformed; see guard.
type pclntab struct {
	data   []byte
	order  binary.ByteOrder
	word   uint64 // size of a pointer
	entry  uint64 // size of an entry of the function table
	tables []byte // the offsets in the header, after the counts and, since 1.18, the text's start
	funcs  uint64
}

// parseMagic recognises the magic numbers of Go 1.16, 1.18 and 1.20 (up to 1.27 at
// least).
func parseMagic(order binary.ByteOrder, b []byte) (since118, ok bool) {
	switch order.Uint32(b) {
	case 0xfffffffa:
		return false, true
	case 0xfffffff0, 0xfffffff1:
		return true, true
	}
	return false, false
}

// newPclntab reads the header at the start of data.
func newPclntab(data []byte, order binary.ByteOrder) (*pclntab, error) {
	if len(data) < 8+8*8 {
		return nil, errors.New("no function table")
	}
	since118, ok := parseMagic(order, data)
	quantum, word := data[6], data[7]
	if !ok || data[4] != 0 || data[5] != 0 || quantum != 1 && quantum != 2 && quantum != 4 || word != 4 && word != 8 {
		return nil, errors.New("unknown kind of function table")
	}
	t := &pclntab{data: data, order: order, word: uint64(word), entry: uint64(word)}
	t.tables = data[8+2*t.word:]
	if since118 {
		t.tables = t.tables[t.word:]
		t.entry = 4
	}
	t.funcs = t.readUint(data[8:], t.word)
	if t.funcs == 0 || t.funcs > functionsLimit {
		return nil, errors.New("malformed function table")
	}
	return t, nil
}

func (t *pclntab) readUint(b []byte, size uint64) uint64 {
	if size == 4 {
		return uint64(t.order.Uint32(b))
	}
	return t.order.Uint64(b)
}

// table returns the data from the start of one of its tables on: 0 function names, 1
// units, 2 files, 3 values by program counter, 4 functions.
func (t *pclntab) table(n uint64) []byte {
	return t.data[t.readUint(t.tables[n*t.word:], t.word):]
}

// eachFunction calls yield with each function's name, cut at pathLimit, and the
// location of its file; see readFile. It fails if there are too many bytes of names:
// in a crafted table they may overlap.
func (t *pclntab) eachFunction(yield func(name []byte, values, unit uint64) bool) error {
	names, funcs := t.table(0), t.table(4)
	left := namesBudget
	for i := range t.funcs {
		fn := funcs[t.readUint(funcs[(2*i+1)*t.entry:], t.entry):]
		field := func(n uint64) uint64 { return uint64(t.order.Uint32(fn[t.entry+4*n:])) }
		off := field(0)
		if off >= uint64(len(names)) {
			continue
		}
		name, _, _ := bytes.Cut(names[off:min(off+pathLimit, uint64(len(names)))], []byte{0})
		if left -= len(name); left < 0 {
			return errors.New("malformed function table")
		}
		if !yield(name, field(4), field(7)) {
			return nil
		}
	}
	return nil
}

// findFile returns the source file in which a function begins, "" if there is no such
// function.
func (t *pclntab) findFile(function string) (file string, err error) {
	err = t.eachFunction(func(name []byte, values, unit uint64) bool {
		if string(name) != function {
			return true
		}
		file = t.readFile(values, unit)
		return false
	})
	return file, err
}

// readFile returns the file at a function's entry, "" if there is none.
func (t *pclntab) readFile(values, unit uint64) string {
	offset, ok := t.findFileOffset(values, unit)
	if !ok {
		return ""
	}
	files := t.table(2)[offset:]
	path, _, _ := bytes.Cut(files[:min(len(files), pathLimit)], []byte{0})
	return string(path)
}

// findFileOffset returns the offset in the table of files of the file at a function's
// entry. Each table of values begins with the zigzag-encoded difference to -1; unit is
// where the function's compile unit begins in the table of file offsets.
func (t *pclntab) findFileOffset(values, unit uint64) (offset uint32, ok bool) {
	delta, n := binary.Uvarint(t.table(3)[values:])
	if n <= 0 || delta == 0 || delta&1 != 0 { // no file, or a negative difference
		return 0, false
	}
	number := delta>>1 - 1
	offset = t.order.Uint32(t.table(1)[4*(unit+number):])
	return offset, offset != 1<<32-1
}

// findMainFile returns the source file of main.main, "" if it cannot be found.
func (e executable) findMainFile() (file string) {
	for data := range e.pclntabs() {
		// This may only look like a table; then the next candidate may be the right one.
		_ = guard(func() error {
			t, err := newPclntab(data, e.ByteOrder)
			if err == nil {
				file, err = t.findFile("main.main")
			}
			return err
		})
		if file != "" {
			return file
		}
	}
	return ""
}

// pclntabs yields candidates for the function table: its section, or else the data
// from each magic number on. GNU ld merges the section into .data.rel.ro in a PIE.
func (e executable) pclntabs() iter.Seq[[]byte] {
	if s := e.section(".gopclntab", ".data.rel.ro.gopclntab"); s != nil && s.Size <= pclntabLimit {
		return func(yield func([]byte) bool) {
			if data, err := s.Data(); err == nil {
				yield(data)
			}
		}
	}
	return func(yield func([]byte) bool) {
		left := candidatesLimit
		for _, p := range e.Progs {
			if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X != 0 || p.Filesz > pclntabLimit {
				continue
			}
			data := make([]byte, p.Filesz)
			if _, err := io.ReadFull(p.Open(), data); err != nil {
				return
			}
			for table := range findHeaders(data, e.ByteOrder) {
				if left--; left < 0 || !yield(table) {
					return
				}
			}
		}
	}
}

// findHeaders yields data from each place that looks like a table's header.
func findHeaders(data []byte, order binary.ByteOrder) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 0; i+8 <= len(data); i += 4 {
			_, known := parseMagic(order, data[i:])
			if known && data[i+4] == 0 && data[i+5] == 0 && !yield(data[i:]) {
				return
			}
		}
	}
}
