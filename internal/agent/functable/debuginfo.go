//go:build linux

package functable

import (
	"encoding/binary"
	"strings"
)

// debugInfo collects the debug sections.
type debugInfo struct {
	t        *table
	producer string
	types    *typeWriter
	units    map[uint32]*unit
	order    []*unit
	names    abstracts
	ranges   buffer // .debug_ranges
	frames   buffer // .debug_frame
	tls      int64  // see goroutines; 0 if it is not known
}

func newDebugInfo(t *table, producer string) *debugInfo {
	d := &debugInfo{t: t, producer: producer, units: map[uint32]*unit{}, names: abstracts{byName: map[string]uint32{}}}
	d.types = newTypeWriter(producer)
	d.frames.b = commonFrame(t.machine)
	return d
}

// abstracts are the functions as such, which their code and inlined calls refer to by
// index until it is known where they are.
type abstracts struct {
	names  []string
	isCode []bool // whether the function's code was added
	byName map[string]uint32
}

// inlined returns the function with the name.
func (a *abstracts) inlined(name string) uint32 {
	i, ok := a.byName[name]
	if !ok {
		i = a.add(name)
	}
	return i
}

// code returns the function with the name, and a new one if another has that name.
func (a *abstracts) code(name string) uint32 {
	i := a.inlined(name)
	if a.isCode[i] {
		i = a.add(name)
	}
	a.isCode[i] = true
	return i
}

func (a *abstracts) add(name string) uint32 {
	i := uint32(len(a.names))
	a.names, a.isCode = append(a.names, name), append(a.isCode, false)
	if _, ok := a.byName[name]; !ok {
		a.byName[name] = i
	}
	return i
}

const languageGo = 0x16

// beginUnit writes the header of a unit and its own entry's beginning.
func (d *debugInfo) beginUnit(w *buffer, abbrev uint64, name string) {
	w.u16(4) // DWARF version
	w.u32(0) // offset of the abbreviations
	w.bytes(8)
	w.uleb(abbrev)
	w.text(name)
	w.bytes(languageGo)
	w.text(d.producer)
}

// info returns .debug_info and .debug_line: first the types, then the functions as such,
// then each unit's code. A debugger needs to meet a function before its code.
func (d *debugInfo) info() (info, lines []byte) {
	var all, line buffer
	all.sized(d.types.end())
	start := len(all.b) + 4 // after the length of the unit
	var unit buffer
	d.beginUnit(&unit, abbrevUnitWithoutCode, "functions")
	offsets := make([]uint32, len(d.names.names))
	for i, name := range d.names.names {
		offsets[i] = uint32(start + len(unit.b))
		unit.uleb(abbrevAbstract)
		unit.text(name)
		unit.bytes(1)
	}
	unit.bytes(0)
	all.sized(unit.b)
	for _, u := range d.order {
		var unit buffer
		d.beginUnit(&unit, abbrevUnit, u.name)
		unit.u32(uint32(len(line.b)))
		unit.u32(uint32(len(d.ranges.b)))
		d.writeRanges(u.ranges, 0)
		for _, at := range u.origins {
			index := binary.LittleEndian.Uint32(u.info.b[at:])
			binary.LittleEndian.PutUint32(u.info.b[at:], offsets[index])
		}
		unit.bytes(u.info.b...)
		unit.bytes(0)
		all.sized(unit.b)
		line.bytes(u.lines()...)
	}
	return all.b, line.b
}

// writeRanges writes ranges, relative to an address, to .debug_ranges.
func (d *debugInfo) writeRanges(ranges []span, base uint64) {
	for _, r := range ranges {
		d.ranges.u64(base + r.start)
		d.ranges.u64(base + r.end)
	}
	d.ranges.u64(0)
	d.ranges.u64(0)
}

// packageOf returns the import path in a function's name.
func packageOf(name string) string {
	name, _, _ = strings.Cut(name, "[") // type arguments
	slash := strings.LastIndex(name, "/") + 1
	before, _, _ := strings.Cut(name[slash:], ".")
	return name[:slash] + before
}
