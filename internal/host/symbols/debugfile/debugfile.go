// Package debugfile extracts the debug information of an executable without its code,
// as objcopy --only-keep-debug --decompress-debug-sections does. With such a file
// beside the stripped executable, a debugger knows as much as with the full one. We
// know of no small, maintained Go library for this, and few developers have binutils
// installed.
package debugfile

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits on the input, the last in bytes. The largest known Go programs have 100 MB of
// debug information.
const (
	maxSections    = 1 << 10
	maxPrograms    = 1 << 8
	maxSectionSize = 1 << 30
)

// Sizes of the ELF structures, in bytes.
const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64
)

// Edit changes the header of a section, and returns the content that the debug file gets.
// For a section that is loaded, the content is nil.
type Edit func(name string, header *elf.Section64, content []byte) ([]byte, error)

// Write writes the debug file of the executable r to w. Loaded sections keep their
// names, addresses and sizes but lose their content; the others keep it, uncompressed:
// Delve decompresses some of them twice, which takes longer than everything else that
// it does with them. If edit is not nil, it is called for each section. Write accepts
// 64-bit little-endian ELF files.
func Write(w io.Writer, r io.ReaderAt, edit Edit) error {
	x, err := readHeaders(r)
	if err != nil {
		return fmt.Errorf("read the executable: %w", err)
	}
	offset := uint64(headerSize + len(x.programs)*programSize)
	bodies := make([][]byte, len(x.sections))
	for i := range x.sections {
		s := &x.sections[i]
		name := x.sectionName(s)
		bodies[i], err = x.keepContent(s)
		if err == nil && edit != nil {
			bodies[i], err = edit(name, s, bodies[i])
		}
		if err != nil {
			return fmt.Errorf("section %s: %w", name, err)
		}
		if len(bodies[i]) > 0 {
			offset = align(offset, s.Addralign)
		}
		s.Off = offset
		offset += uint64(len(bodies[i]))
	}
	x.header.Phoff, x.header.Shoff = headerSize, align(offset, 8)
	x.emptySegments()
	out := &writer{w: w}
	out.encode(x.header)
	out.encode(x.programs)
	for i, body := range bodies {
		if len(body) > 0 {
			out.padTo(x.sections[i].Off)
			out.write(body)
		}
	}
	out.padTo(x.header.Shoff)
	out.encode(x.sections)
	return out.err
}

// executable is an ELF file with its headers.
type executable struct {
	r        io.ReaderAt
	header   elf.Header64
	programs []elf.Prog64
	sections []elf.Section64
	names    []byte // section header string table
}

func readHeaders(r io.ReaderAt) (*executable, error) {
	x := &executable{r: r}
	if err := x.decodeAt(0, headerSize, &x.header); err != nil {
		return nil, err
	}
	h := &x.header
	id := h.Ident
	if string(id[:4]) != elf.ELFMAG || elf.Class(id[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(id[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, errors.New("not a 64-bit little-endian ELF file")
	}
	if h.Phnum > maxPrograms || h.Shnum > maxSections || h.Shnum == 0 || h.Shstrndx >= h.Shnum ||
		h.Phentsize != programSize && h.Phnum > 0 || h.Shentsize != sectionSize {
		return nil, errors.New("malformed headers")
	}
	x.programs, x.sections = make([]elf.Prog64, h.Phnum), make([]elf.Section64, h.Shnum)
	if err := x.decodeAt(h.Phoff, len(x.programs)*programSize, x.programs); err != nil {
		return nil, err
	}
	if err := x.decodeAt(h.Shoff, len(x.sections)*sectionSize, x.sections); err != nil {
		return nil, err
	}
	var err error
	x.names, err = x.readSection(&x.sections[h.Shstrndx])
	return x, err
}

// decodeAt reads size bytes at offset into v, a pointer or slice of fixed-size values.
func (x *executable) decodeAt(offset uint64, size int, v any) error {
	data := make([]byte, size)
	if err := x.readAt(data, offset); err != nil {
		return err
	}
	_, err := binary.Decode(data, binary.LittleEndian, v)
	return err
}

func (x *executable) readAt(p []byte, offset uint64) error {
	if offset>>62 != 0 {
		return io.ErrUnexpectedEOF
	}
	n, err := x.r.ReadAt(p, int64(offset))
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readSection returns a section's content in the file. The memory it uses is bounded
// by the file's size, whatever the header claims.
func (x *executable) readSection(s *elf.Section64) ([]byte, error) {
	if s.Type == uint32(elf.SHT_NOBITS) {
		return nil, nil
	}
	if s.Size > maxSectionSize || s.Off>>62 != 0 {
		return nil, errors.New("too large")
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.NewSectionReader(x.r, int64(s.Off), int64(s.Size)))
	if err == nil && uint64(n) < s.Size {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}

func (x *executable) sectionName(s *elf.Section64) string {
	if uint64(s.Name) >= uint64(len(x.names)) {
		return ""
	}
	name, _, _ := bytes.Cut(x.names[s.Name:], []byte{0})
	return string(name)
}

// keepContent returns the content of a section that the debug file keeps, and adapts
// the section's header.
func (x *executable) keepContent(s *elf.Section64) ([]byte, error) {
	flags, kind := elf.SectionFlag(s.Flags), elf.SectionType(s.Type)
	switch {
	case kind == elf.SHT_NULL, kind == elf.SHT_NOBITS:
		return nil, nil
	case flags&elf.SHF_ALLOC != 0 && kind != elf.SHT_NOTE:
		s.Type = uint32(elf.SHT_NOBITS)
		return nil, nil
	}
	body, err := x.readSection(s)
	if err != nil || flags&elf.SHF_COMPRESSED == 0 {
		return body, err
	}
	return decompress(s, body)
}

// emptySegments reduces the segments to the headers at the start of the file, since
// the file does not contain what is loaded. Offsets stay congruent to addresses, as
// binutils require (gABI, "Program Header").
func (x *executable) emptySegments() {
	headers := uint64(headerSize + len(x.programs)*programSize)
	for i := range x.programs {
		p := &x.programs[i]
		kind := elf.ProgType(p.Type)
		switch {
		case kind == elf.PT_PHDR:
			p.Off, p.Filesz = headerSize, headers-headerSize
		case kind == elf.PT_LOAD && p.Off == 0 && p.Filesz >= headers:
			p.Filesz = headers
		default:
			p.Filesz = 0
			if p.Off = 0; p.Align > 1 && p.Align <= 1<<16 {
				p.Off = p.Vaddr % p.Align
			}
		}
	}
}

// decompress returns the content of a compressed section and adapts the section's
// header (gABI, "Compressed section").
func decompress(s *elf.Section64, body []byte) ([]byte, error) {
	var header elf.Chdr64
	n, err := binary.Decode(body, binary.LittleEndian, &header)
	if err != nil {
		return nil, err
	}
	if elf.CompressionType(header.Type) != elf.COMPRESS_ZLIB || header.Size > maxSectionSize {
		return body, nil // leave it to the reader
	}
	z, err := zlib.NewReader(bytes.NewReader(body[n:]))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(z, int64(header.Size))); err != nil {
		return nil, err
	}
	if uint64(b.Len()) != header.Size {
		return nil, io.ErrUnexpectedEOF
	}
	s.Flags &^= uint64(elf.SHF_COMPRESSED)
	s.Size, s.Addralign = header.Size, header.Addralign
	return b.Bytes(), nil
}

// align rounds offset up to a multiple of to. It ignores a to that is not a power of
// two or exceeds 64 kB.
func align(offset, to uint64) uint64 {
	if to <= 1 || to > 1<<16 || to&(to-1) != 0 {
		return offset
	}
	return (offset + to - 1) &^ (to - 1)
}

// writer counts what it writes and stops at the first error, which it keeps in err.
type writer struct {
	w   io.Writer
	n   uint64
	err error
}

func (w *writer) write(p []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(p)
		w.n += uint64(len(p))
	}
}

func (w *writer) encode(v any) {
	p, err := binary.Append(nil, binary.LittleEndian, v)
	if w.err == nil {
		w.err = err
	}
	w.write(p)
}

func (w *writer) padTo(to uint64) { w.write(make([]byte, to-w.n)) }
