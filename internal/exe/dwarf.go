package exe

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
)

// This file reads the first entry of the units of DWARF 2 to 5. debug/dwarf would need
// whole sections in memory, and parses an abbreviation table for each unit, which a
// crafted file makes arbitrarily expensive. Section and table numbers refer to the
// DWARF 5 standard.

const (
	tagCompileUnit = 0x11
	attrName       = 0x03
	attrLanguage   = 0x13
	attrProducer   = 0x25
	languageGo     = 0x16

	abbrevsLimit = 16 << 20
	abbrevLimit  = 4 << 10 // how far into a unit's table to search for its first entry
)

// compileUnit holds the attributes of a unit's first entry. Strings in another section
// are left empty; Go's linker does not use them here.
type compileUnit struct {
	name, producer string
	language       uint64
}

// openDebug opens a debug section, which debug/elf decompresses if necessary.
func openDebug(s *elf.Section) io.Reader {
	return io.LimitReader(s.Open(), maxSection)
}

// readAbbrevs returns .debug_abbrev, at most abbrevsLimit bytes.
func (e executable) readAbbrevs() ([]byte, error) {
	s := e.section(".debug_abbrev", ".zdebug_abbrev")
	if s == nil {
		return nil, errors.New("no .debug_abbrev section")
	}
	return io.ReadAll(io.LimitReader(openDebug(s), abbrevsLimit))
}

// unit is the beginning of a unit in .debug_info; section 7.5.1.
type unit struct {
	data   []byte // from the unit's length on, possibly truncated
	order  binary.ByteOrder
	wide   bool // 64-bit DWARF
	length uint64
}

// newUnit reads a unit's length from its first 12 bytes.
func newUnit(head []byte, order binary.ByteOrder) *unit {
	u := &unit{data: head, order: order, length: uint64(order.Uint32(head))}
	if u.length == 1<<32-1 {
		u.wide = true
		u.length = order.Uint64(head[4:])
	}
	return u
}

// size returns the unit's size including its length field. An impossible size is capped
// at one larger than any section.
func (u *unit) size() uint64 {
	size := uint64(4)
	if u.wide {
		size = 12
	}
	return size + min(u.length, 1<<40)
}

// compileUnit reads the unit's first entry. The result is zero if that is not a
// compile unit, or malformed.
func (u *unit) compileUnit(abbrevs []byte) (cu compileUnit) {
	c := &cursor{b: u.data, order: u.order}
	offset := uint64(4)
	if c.skip(4); u.wide {
		offset = 8
		c.skip(8)
	}
	version := c.readUint(2)
	var table, address uint64
	if version >= 5 {
		c.skip(1) // the unit's type
		address = c.readUint(1)
		table = c.readUint(offset)
	} else {
		table = c.readUint(offset)
		address = c.readUint(1)
	}
	code := c.readULEB()
	if c.bad || version < 2 || version > 5 || table >= uint64(len(abbrevs)) {
		return cu
	}
	a := &cursor{b: abbrevs[table:min(uint64(len(abbrevs)), table+abbrevLimit)], order: u.order}
	if a.findAbbrev(code) != tagCompileUnit {
		return cu
	}
	sizes := formSizes{address: address, offset: offset, ref: offset}
	if version == 2 {
		sizes.ref = address
	}
	return c.readCompileUnit(a, sizes)
}

// readCompileUnit reads the attributes specified by the abbreviation in a, whose header
// has been read.
func (c *cursor) readCompileUnit(a *cursor, sizes formSizes) (cu compileUnit) {
	for !a.bad && !c.bad {
		attr, form := a.readSpec()
		if attr == 0 && form == 0 {
			return cu
		}
		value := c.readValue(form, sizes)
		switch attr {
		case attrName:
			cu.name = value.text
		case attrProducer:
			cu.producer = value.text
		case attrLanguage:
			cu.language = value.number
		}
	}
	return compileUnit{}
}
