package exe

import (
	"debug/elf"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	wordsLimit      = 64 << 10 // in one result
	stringsLimit    = 16 << 10
	stringLimit     = 4 << 10  // bytes of a string
	stringsSize     = 1 << 20  // bytes of all strings
	relocationLimit = 64 << 20 // bytes of the relocation table
)

// Words returns the four bytes at each offset into .text. The compiler encodes the
// address of a variable that it loads in four bytes.
func (x *File) Words(offsets []uint64) (words []uint32, err error) {
	err = withELF(x.r, func(e executable) error {
		s := e.section(".text")
		if s == nil || len(offsets) > wordsLimit {
			return errors.New("no .text section, or too many offsets")
		}
		var b [4]byte
		for _, at := range offsets {
			if at > s.FileSize {
				return errors.New("the offset is outside of .text")
			}
			if _, err := s.ReadAt(b[:], int64(at)); err != nil {
				return err
			}
			words = append(words, e.ByteOrder.Uint32(b[:]))
		}
		return nil
	})
	return words, err
}

// Text is the initial value of a string variable.
type Text struct {
	Value string `json:"value,omitempty"`
	Valid bool   `json:"valid,omitempty"` // the variable's content is a valid string
}

// Strings returns the initial values of the string variables at these addresses.
func (x *File) Strings(addrs []uint64) (texts []Text, err error) {
	err = withELF(x.r, func(e executable) error {
		if len(addrs) > stringsLimit {
			return errors.New("too many strings")
		}
		pointers, err := e.readRelocations(addrs)
		if err != nil {
			return err
		}
		left := stringsSize
		for _, addr := range addrs {
			t := e.readString(addr, pointers)
			if left -= len(t.Value); left < 0 {
				return errors.New("the strings are too long")
			}
			texts = append(texts, t)
		}
		return nil
	})
	return texts, err
}

// readString reads a string's header (reflect.StringHeader) and the bytes it points
// to.
func (e executable) readString(addr uint64, pointers map[uint64]uint64) Text {
	header, ok := e.readLoaded(addr, 16)
	if !ok {
		return Text{}
	}
	pointer, size := e.ByteOrder.Uint64(header), e.ByteOrder.Uint64(header[8:])
	if p, ok := pointers[addr]; ok {
		pointer = p
	}
	if size == 0 {
		return Text{Valid: true}
	}
	if size > stringLimit {
		return Text{}
	}
	value, ok := e.readLoaded(pointer, size)
	if !ok || !utf8.Valid(value) {
		return Text{}
	}
	return Text{strings.Clone(string(value)), true}
}

// readLoaded returns the bytes at an address when the program has been loaded, before
// relocation.
func (e executable) readLoaded(addr, size uint64) ([]byte, bool) {
	for _, s := range e.File.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Flags&elf.SHF_TLS != 0 || addr < s.Addr || addr-s.Addr > s.Size || size > s.Size-(addr-s.Addr) {
			continue
		}
		b := make([]byte, size)
		if s.Type == elf.SHT_NOBITS {
			return b, true
		}
		_, err := s.ReadAt(b, int64(addr-s.Addr))
		return b, err == nil
	}
	return nil, false
}

// readRelocations returns the pointers that the loader of a position-independent
// executable writes to these addresses: relocations of the type "base plus addend".
// amd64's and arm64's tables have the same layout.
func (e executable) readRelocations(addrs []uint64) (map[uint64]uint64, error) {
	s := e.section(".rela.dyn", ".rela")
	if e.Type != elf.ET_DYN || s == nil {
		return nil, nil
	}
	if s.FileSize > relocationLimit {
		return nil, errors.New("the relocations are too large")
	}
	table, err := io.ReadAll(io.NewSectionReader(s.ReaderAt, 0, int64(s.FileSize)))
	if err != nil {
		return nil, err
	}
	wanted := make(map[uint64]bool, len(addrs))
	for _, a := range addrs {
		wanted[a] = true
	}
	pointers := map[uint64]uint64{}
	for ; len(table) >= 24; table = table[24:] {
		at, kind := e.ByteOrder.Uint64(table), uint32(e.ByteOrder.Uint64(table[8:]))
		if wanted[at] && (kind == uint32(elf.R_X86_64_RELATIVE) || kind == uint32(elf.R_AARCH64_RELATIVE)) {
			pointers[at] = e.ByteOrder.Uint64(table[16:])
		}
	}
	return pointers, nil
}

// Variable is a package-level variable with the size of a string.
type Variable struct {
	Name string // as the symbol table has it
	Addr uint64
}

// Variables returns the variables that may be strings, from the symbol table.
func (x *File) Variables() (list []Variable, err error) {
	err = withELF(x.r, func(e executable) error {
		symbols, err := e.Symbols()
		for _, s := range symbols {
			if elf.ST_TYPE(s.Info) == elf.STT_OBJECT && s.Size == 16 {
				list = append(list, Variable{s.Name, s.Value})
			}
		}
		return err
	})
	return list, err
}

// Code returns the address and the content of .text.
func (x *File) Code() (addr uint64, code []byte, err error) {
	err = withELF(x.r, func(e executable) error {
		s := e.section(".text")
		if s == nil || s.FileSize > maxSection {
			return errors.New("no code")
		}
		addr = s.Addr
		code, err = s.Data()
		return err
	})
	return addr, code, err
}
