// Package gopart compares the Go parts of two executables that an external linker has put
// together: a stripped target and its twin, whose C code may have been compiled by
// different compilers, or linked with different libraries.
//
// The linker copies what Go has compiled as it is, section by section, and only fills in
// addresses. Where C's part of a section has another size, Go's part of the sections that
// follow is at another address. So the Go parts are the same program if they are equal
// except for addresses, and each address points to the same symbol in both. The twin is
// linked with its relocations (ld's --emit-relocs), which tell what is an address of what.
package gopart

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// Target is the stripped executable. Its answers are not trusted.
type Target interface {
	Blocks(ctx context.Context, r exe.Range) ([]byte, error)
	Content(ctx context.Context, r exe.Range) ([]byte, error)
}

// Difference is the error of a target whose Go part differs from the twin's.
type Difference struct {
	Section string
	Symbol  string // at the first difference; "" if unknown
	Reason  string
}

func (d *Difference) Error() string {
	text := d.Reason
	if d.Symbol != "" {
		text = "in " + d.Symbol + ": " + text
	}
	return d.Section + " differs: " + text
}

// Placement says where a target's sections are, in relation to its twin's.
type Placement struct {
	sections map[elf.SectionIndex]*section // the twin's sections that contain Go's part
	target   map[string]exe.Section
}

// section is a section that contains a part of Go's.
type section struct {
	*elf.Section
	target      exe.Section
	first, last uint64 // addresses of Go's part in the twin: its first byte, and the one after its last
	shift       uint64 // from there to Go's part in the target, modulo 2^64
	placed      bool   // shift is known
	relocations []relocation
}

// IsExternallyLinked reports whether an executable comes from an external linker, and so
// contains C code. Unlike those, Go's linker writes no unwind tables.
func IsExternallyLinked(r io.ReaderAt) (bool, error) {
	x, err := elf.NewFile(r)
	if err != nil {
		return false, err
	}
	return x.Section(".eh_frame") != nil, nil
}

// bounds returns the symbols that the Go linker puts around its parts of sections that
// may also contain C's (cmd/link/internal/ld, symtab).
func bounds() [][2]string {
	return [][2]string{
		{"runtime.text", "runtime.etext"},
		{"runtime.rodata", "runtime.erodata"},
		{"runtime.types", "runtime.etypes"},
		{"runtime.data", "runtime.edata"},
		{"runtime.bss", "runtime.ebss"},
	}
}

// isGoSection reports whether a section contains nothing but Go's part.
func isGoSection(name string) bool {
	switch name {
	case ".gopclntab", ".typelink", ".itablink", ".gosymtab", ".noptrdata", ".noptrbss":
		return true
	}
	return strings.HasPrefix(name, ".go.")
}

// moduleData is the symbol of the runtime's table of all sections (runtime/symtab.go,
// moduledata).
const moduleData = "runtime.firstmoduledata"

// newPlacement finds the sections with Go's part in the twin and the target.
func newPlacement(x *elf.File, symbols []elf.Symbol, want exe.Fingerprint) (*Placement, error) {
	p := &Placement{sections: map[elf.SectionIndex]*section{}, target: map[string]exe.Section{}}
	for _, s := range want.Sections {
		p.target[s.Name] = s
	}
	for i, s := range x.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && isGoSection(s.Name) {
			p.sections[elf.SectionIndex(i)] = &section{Section: s, first: s.Addr, last: s.Addr + s.Size}
		}
	}
	if err := p.findShared(x, symbols); err != nil {
		return nil, err
	}
	if err := p.checkTLS(x); err != nil {
		return nil, err
	}
	for _, s := range p.sections {
		target, ok := p.target[s.Name]
		if !ok || target.Type != s.Type || target.Flags != s.Flags {
			return nil, &Difference{Section: s.Name, Reason: "the target has no such section"}
		}
		if s.target = target; !isGoSection(s.Name) {
			continue
		}
		if target.Size != s.Size {
			return nil, &Difference{Section: s.Name, Reason: fmt.Sprintf("it has %d bytes instead of %d", s.Size, target.Size)}
		}
		s.shift, s.placed = target.Addr-s.Addr, true
	}
	return p, nil
}

// checkTLS checks that thread-local storage has the same layout in both. A debugger finds
// the current goroutine in it (Delve's pkg/proc/bininfo.go, setGStructOffsetElf).
func (p *Placement) checkTLS(x *elf.File) error {
	for _, s := range x.Sections {
		if s.Flags&elf.SHF_TLS != 0 && p.target[s.Name].Size != s.Size {
			return &Difference{Section: s.Name, Reason: fmt.Sprintf("it has %d bytes instead of %d", s.Size, p.target[s.Name].Size)}
		}
	}
	for name, s := range p.target {
		if s.Flags&elf.SHF_TLS != 0 && x.Section(name) == nil {
			return &Difference{Section: name, Reason: "the twin has no such section"}
		}
	}
	return nil
}

// findShared finds the sections that contain both Go's part and C's.
func (p *Placement) findShared(x *elf.File, symbols []elf.Symbol) error {
	at := map[string]elf.Symbol{}
	for _, s := range symbols {
		at[s.Name] = s
	}
	for _, b := range bounds() {
		first, last := at[b[0]], at[b[1]]
		i := first.Section
		if first.Name == "" || last.Name == "" || int(i) >= len(x.Sections) || last.Section != i || first.Value > last.Value {
			return fmt.Errorf("the twin has no symbols %s and %s", b[0], b[1])
		}
		switch s := p.sections[i]; {
		case s == nil:
			p.sections[i] = &section{Section: x.Sections[i], first: first.Value, last: last.Value}
		case !isGoSection(s.Name):
			s.first, s.last = min(s.first, first.Value), max(s.last, last.Value)
		}
	}
	return nil
}

// find returns the section in whose Go part a symbol is, nil if it is C's or undefined.
// The addend matters for the symbol of a whole section.
func (p *Placement) find(sym elf.Symbol, addend uint64) *section {
	s := p.sections[sym.Section]
	if s == nil {
		return nil
	}
	addr := sym.Value
	if elf.ST_TYPE(sym.Info) == elf.STT_SECTION {
		addr += addend
	}
	if addr >= s.first && addr < s.last || addr == s.last && strings.HasPrefix(sym.Name, "runtime.") {
		return s
	}
	return nil
}

// sorted returns the sections in the order of their addresses.
func (p *Placement) sorted() []*section {
	var list []*section
	for _, s := range p.sections {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *section) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Name, b.Name))
	})
	return list
}
