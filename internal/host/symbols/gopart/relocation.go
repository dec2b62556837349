package gopart

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

// maxSection bounds a section that is held in memory, in bytes.
const maxSection = 1 << 30

// relocation says that the field at an address holds the address of a symbol.
type relocation struct {
	place  uint64 // address in the twin; offset in a section that is not loaded
	kind   uint32
	symbol uint32 // index in the symbol table, from 1
	addend uint64 // modulo 2^64
}

const relocationSize = 24

// readRelocations calls yield with each entry of a relocation table (gABI, "Relocation").
func readRelocations(s *elf.Section, order binary.ByteOrder, yield func(relocation)) error {
	data, err := readAll(s)
	if err != nil {
		return err
	}
	for r := range parseRelocations(data, order) {
		yield(r)
	}
	return nil
}

func parseRelocations(data []byte, order binary.ByteOrder) iter.Seq[relocation] {
	return func(yield func(relocation) bool) {
		for ; len(data) >= relocationSize; data = data[relocationSize:] {
			info := order.Uint64(data[8:])
			if !yield(relocation{order.Uint64(data), uint32(info), uint32(info >> 32), order.Uint64(data[16:])}) {
				return
			}
		}
	}
}

func readAll(s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if s.FileSize > maxSection {
		return nil, errors.New("section " + s.Name + " is too large")
	}
	return io.ReadAll(s.Open())
}

// twin is the unstripped executable.
type twin struct {
	*elf.File
	symbols []elf.Symbol // without the first, empty one
}

// open reads the symbols of a twin.
func open(x *elf.File) (*twin, error) {
	symbols, err := x.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read the twin's symbols: %w", err)
	}
	if x.Class != elf.ELFCLASS64 || x.Data != elf.ELFDATA2LSB {
		return nil, errors.New("the twin is not a 64-bit little-endian ELF file")
	}
	return &twin{x, symbols}, nil
}

// symbol returns the symbol of a relocation, the zero value if there is none.
func (x *twin) symbol(r relocation) elf.Symbol {
	if r.symbol == 0 || int(r.symbol) > len(x.symbols) {
		return elf.Symbol{}
	}
	return x.symbols[r.symbol-1]
}

// symbolAt returns the name of the last symbol of a section at or before an address.
func (x *twin) symbolAt(s *section, addr uint64) string {
	var best elf.Symbol
	for _, sym := range x.symbols {
		if sym.Name != "" && s.Section == x.sectionOf(sym) && sym.Value <= addr && (best.Name == "" || sym.Value >= best.Value) {
			best = sym
		}
	}
	return best.Name
}

func (x *twin) sectionOf(sym elf.Symbol) *elf.Section {
	if int(sym.Section) < len(x.Sections) {
		return x.Sections[sym.Section]
	}
	return nil
}

// readPlaces reads the relocations of Go's part of each section.
func (x *twin) readPlaces(p *Placement) error {
	found := false
	for _, table := range x.Sections {
		if table.Type != elf.SHT_RELA || table.Flags&elf.SHF_ALLOC != 0 {
			continue
		}
		s := p.sections[elf.SectionIndex(table.Info)]
		if s == nil {
			continue
		}
		found = true
		err := readRelocations(table, x.ByteOrder, func(r relocation) {
			s.extend(x, r)
			if r.place >= s.first && r.place < s.last {
				s.relocations = append(s.relocations, r)
			}
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return errors.New("the twin was linked without its relocations")
	}
	return nil
}

// extend enlarges Go's part by a table of itabs that follows the types, which has no
// symbol at its end.
func (s *section) extend(x *twin, r relocation) {
	const prefix = "go:itab."
	if name := x.symbol(r).Name; r.place >= s.last && r.place-s.last < 1<<20 && !isGoSection(s.Name) && len(name) > len(prefix) && name[:len(prefix)] == prefix {
		s.last = r.place + 8
	}
}
