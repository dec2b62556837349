package gopart

import (
	"context"
	"debug/elf"
	"fmt"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// dynamic is the table of relocations that the loader applies, by address.
type dynamic map[uint64]relocation

// dynamicTable is the section of the loader's relocations.
const dynamicTable = ".rela.dyn"

// readDynamic reads the loader's relocations of both executables.
func (c *comparison) readDynamic(ctx context.Context) error {
	s := c.Section(dynamicTable)
	target, ok := c.target[dynamicTable]
	if s == nil && !ok {
		return nil
	}
	if s == nil || !ok || target.Type != elf.SHT_RELA {
		return &Difference{Section: dynamicTable, Reason: "only one of the two is relocated by the loader"}
	}
	const slack = 1 << 20 // bytes; the node chooses the size, and C's relocations are few
	if target.Size > s.Size+slack {
		return &Difference{Section: dynamicTable, Reason: fmt.Sprintf("it has %d bytes instead of %d", s.Size, target.Size)}
	}
	c.ours, c.theirs = dynamic{}, dynamic{}
	if err := readRelocations(s, c.ByteOrder, func(r relocation) { c.ours[r.place] = r }); err != nil {
		return err
	}
	data, err := c.readTarget(ctx, s, target)
	if err != nil {
		return err
	}
	for r := range parseRelocations(data, c.ByteOrder) {
		c.theirs[r.place] = r
	}
	return nil
}

// readTarget reads a section of the target whose size may differ from the twin's.
func (c *comparison) readTarget(ctx context.Context, s *elf.Section, target exe.Section) ([]byte, error) {
	ours, err := readAll(s)
	if err != nil {
		return nil, err
	}
	data := make([]byte, target.Size)
	if uint64(len(ours)) == target.Size {
		data, err = c.read(ctx, target, 0, ours)
	} else {
		err = c.readContent(ctx, target, 0, data)
	}
	if err != nil {
		return nil, err
	}
	return data, checkHash(target, data)
}

func (d dynamic) has(place uint64) bool { _, ok := d[place]; return ok }

// pointer returns what is at a place after loading; content is what the file has there.
func (d dynamic) pointer(place, content uint64) uint64 {
	if r, ok := d[place]; ok {
		return r.addend
	}
	return content
}

// compareDynamic compares the loader's relocations in Go's part.
func (c *comparison) compareDynamic() error {
	ours, theirs := 0, 0
	for _, s := range c.sorted() {
		for _, r := range s.relocations {
			if e := findEncoding(c.Machine, r.kind); e == nil || !e.isPointer() || !c.ours.has(r.place) {
				continue
			}
			ours++
			if err := c.compareEntry(s, r); err != nil {
				return err
			}
		}
		for place := range c.theirs {
			if place -= s.shift; place >= s.first && place < s.last {
				theirs++
			}
		}
	}
	if ours != theirs {
		return &Difference{Section: dynamicTable, Reason: "the target has other relocations in Go's part"}
	}
	return nil
}

// compareEntry compares the loader's relocation of one pointer.
func (c *comparison) compareEntry(s *section, r relocation) error {
	our := c.ours[r.place]
	their, ok := c.theirs[r.place+s.shift]
	if !ok || their.kind != our.kind {
		return c.difference(s, r.place, "the target has no such pointer there")
	}
	delta := their.addend - our.addend
	if to := c.find(c.symbol(r), r.addend); to != nil {
		if delta != to.shift {
			return c.difference(s, r.place, "the target's pointer refers to something else than "+c.symbol(r).Name)
		}
		return nil
	}
	if our.symbol != 0 || their.symbol != 0 {
		if (our.symbol == 0) != (their.symbol == 0) || delta != 0 {
			return c.difference(s, r.place, "the target's pointer is to another library's symbol")
		}
		return nil
	}
	if !c.learn(foreignKey{symbol: r.symbol}, delta) {
		return c.difference(s, r.place, "the target's pointer refers to something else than "+c.symbol(r).Name)
	}
	return nil
}
