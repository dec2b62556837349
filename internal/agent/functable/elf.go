//go:build linux

package functable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// file returns an ELF file with the debug sections. Where a thread's g is, relative to the
// thread pointer, Delve computes from the symbol runtime.tlsg and the size of the
// thread-local storage (pkg/proc/bininfo.go, setGStructOffsetElf), so these are such that
// the result is right.
func (d *debugInfo) file() []byte {
	info, lines := d.info()
	names := []byte("\x00runtime.tlsg\x00")
	var symbols bytes.Buffer
	for _, s := range []elf.Sym64{{}, {Name: 1, Info: byte(elf.STT_TLS), Shndx: uint16(elf.SHN_ABS)}} {
		binary.Write(&symbols, binary.LittleEndian, s)
	}
	return writeELF(d.t.machine, uint64(max(-d.tls, 0)), []section{
		{name: ".debug_abbrev", data: abbrevs()}, {name: ".debug_info", data: info}, {name: ".debug_line", data: lines},
		{name: ".debug_ranges", data: d.ranges.b}, {name: ".debug_frame", data: d.frames.b},
		{name: ".strtab", kind: elf.SHT_STRTAB, data: names},
		{name: ".symtab", kind: elf.SHT_SYMTAB, data: symbols.Bytes(), entry: elf.Sym64Size, link: 6},
	})
}

type section struct {
	name  string
	kind  elf.SectionType // SHT_PROGBITS if zero
	data  []byte
	entry uint64 // size of an entry
	link  uint32 // number of the section with its strings
}

const (
	headerSize  = 64
	programSize = 56
)

// writeELF returns an ELF file that loads nothing. tls is the size of thread-local
// storage, 0 for none.
func writeELF(machine elf.Machine, tls uint64, sections []section) []byte {
	names, offset := []byte{0}, uint64(headerSize+programSize)
	sections = append(sections, section{name: ".shstrtab", kind: elf.SHT_STRTAB})
	headers := []elf.Section64{{}}
	for i := range sections {
		s := &sections[i]
		h := elf.Section64{Name: uint32(len(names)), Type: uint32(max(s.kind, elf.SHT_PROGBITS)), Off: offset, Link: s.link, Addralign: 1, Entsize: s.entry}
		names = append(append(names, s.name...), 0)
		if i == len(sections)-1 {
			s.data = names
		}
		h.Size = uint64(len(s.data))
		offset += h.Size
		headers = append(headers, h)
	}
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: headerSize, Shoff: offset,
		Ehsize: headerSize, Phentsize: programSize, Shentsize: 64, Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	if tls > 0 {
		header.Phnum = 1
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var w bytes.Buffer
	binary.Write(&w, binary.LittleEndian, header)
	binary.Write(&w, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_TLS), Flags: uint32(elf.PF_R), Memsz: tls, Align: 1})
	for _, s := range sections {
		w.Write(s.data)
	}
	binary.Write(&w, binary.LittleEndian, headers)
	return w.Bytes()
}
