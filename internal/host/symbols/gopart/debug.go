package gopart

import (
	"debug/elf"
	"fmt"
	"io"
	"strings"
)

// Editor changes the twin's debug information to what is true of the target.
type Editor struct {
	*Placement
	twin   *twin
	tables map[string]*elf.Section // the relocations of each section that is not loaded
}

// NewEditor returns the editor for the debug information of a twin that Compare has
// compared.
func NewEditor(r io.ReaderAt, p *Placement) (*Editor, error) {
	x, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	t, err := open(x)
	if err != nil {
		return nil, err
	}
	e := &Editor{p, t, map[string]*elf.Section{}}
	for _, s := range x.Sections {
		if s.Type == elf.SHT_RELA && s.Flags&elf.SHF_ALLOC == 0 && int(s.Info) < len(x.Sections) {
			e.tables[x.Sections[s.Info].Name] = s
		}
	}
	return e, nil
}

// Edit changes the header and the content of one of the twin's sections, as a
// debugfile.Edit. Addresses in Go's part become the target's. Those of C's code become 0,
// as linkers do for code that they have discarded: nothing is known of it in the target.
func (e *Editor) Edit(name string, h *elf.Section64, content []byte) ([]byte, error) {
	flags := elf.SectionFlag(h.Flags)
	switch {
	case flags&elf.SHF_ALLOC != 0:
		if target, ok := e.target[name]; ok {
			h.Addr, h.Size = target.Addr, target.Size
		}
		return content, nil
	case elf.SectionType(h.Type) == elf.SHT_RELA:
		*h = elf.Section64{Name: h.Name}
		return nil, nil
	case elf.SectionType(h.Type) == elf.SHT_SYMTAB:
		e.editSymbols(content)
		return content, nil
	}
	table := e.tables[name]
	if table == nil || !strings.HasPrefix(name, ".debug_") {
		return content, nil
	}
	if flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("section %s is compressed", name)
	}
	return content, readRelocations(table, e.twin.ByteOrder, func(r relocation) { e.relocate(r, content) })
}

// relocate changes the field of one relocation.
func (e *Editor) relocate(r relocation, content []byte) {
	enc := findEncoding(e.twin.Machine, r.kind)
	if enc == nil || enc.part || r.place >= uint64(len(content)) || uint64(enc.size) > uint64(len(content))-r.place {
		return
	}
	sym := e.twin.symbol(r)
	in := e.twin.sectionOf(sym)
	if in == nil || in.Flags&elf.SHF_ALLOC == 0 {
		return
	}
	b := content[r.place : r.place+uint64(enc.size)]
	if s := e.find(sym, r.addend); s != nil {
		field := enc.get(e.twin.ByteOrder, b)
		enc.put(e.twin.ByteOrder, b, enc.encode(field, r.place, enc.decode(field, r.place)+s.shift))
		return
	}
	clear(b)
}

// editSymbols changes the symbol table: symbols of C's get no name and no address.
func (e *Editor) editSymbols(content []byte) {
	for _, sym := range e.twin.symbols {
		if content = content[min(elf.Sym64Size, len(content)):]; len(content) < elf.Sym64Size {
			return
		}
		in := e.twin.sectionOf(sym)
		if in == nil || in.Flags&elf.SHF_ALLOC == 0 || in.Flags&elf.SHF_TLS != 0 {
			continue
		}
		s := e.find(sym, 0)
		if s == nil {
			clear(content[:elf.Sym64Size])
			continue
		}
		e.twin.ByteOrder.PutUint64(content[8:], sym.Value+s.shift)
	}
}
