package exe

import (
	"bytes"
	"encoding/binary"
)

// cursor reads values in DWARF's encodings. Once one is missing, bad is set and all
// further values are zero.
type cursor struct {
	b     []byte
	order binary.ByteOrder
	bad   bool
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	taken := c.b[:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) skip(n uint64) { c.take(n) }

func (c *cursor) readUint(size uint64) uint64 {
	b := c.take(size)
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(c.order.Uint16(b))
	case 4:
		return uint64(c.order.Uint32(b))
	case 8:
		return c.order.Uint64(b)
	}
	return 0
}

// readULEB reads an unsigned LEB128 number. It can also skip a signed one.
func (c *cursor) readULEB() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) readText() string {
	text, rest, ok := bytes.Cut(c.b, []byte{0})
	c.b, c.bad = rest, c.bad || !ok
	return string(text)
}

// findAbbrev moves past the header of the abbreviation with that code and returns its
// tag, 0 if there is none; section 7.5.3.
func (c *cursor) findAbbrev(code uint64) (tag uint64) {
	for !c.bad {
		found := c.readULEB()
		if found == 0 {
			return 0
		}
		tag := c.readULEB()
		c.skip(1) // the flag that says whether it has children
		if found == code {
			return tag
		}
		for !c.bad {
			if attr, form := c.readSpec(); attr == 0 && form == 0 {
				break
			}
		}
	}
	return 0
}

// readSpec reads an attribute specification of an abbreviation.
func (c *cursor) readSpec() (attr, form uint64) {
	attr, form = c.readULEB(), c.readULEB()
	if form == formImplicitConst {
		c.readULEB()
	}
	return attr, form
}
