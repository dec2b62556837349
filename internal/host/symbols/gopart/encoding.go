package gopart

import (
	"debug/elf"
	"encoding/binary"
)

// encoding is how relocations of one type store an address.
type encoding struct {
	size int // of the field in bytes, 4 or 8
	// decode returns the address that a field at a place refers to, or the part of it that
	// the field holds.
	decode func(field, place uint64) uint64
	// encode returns the field with another address.
	encode func(field, place, addr uint64) uint64
	// part says that a field holds a part of an address.
	part bool
	// got says that the address is that of the symbol's entry in the global offset table.
	got bool
}

// isPointer reports whether fields hold nothing but an address.
func (e *encoding) isPointer() bool { return e.size == 8 && e.decode(1, 1<<20) == 1 }

func (e *encoding) get(order binary.ByteOrder, b []byte) uint64 {
	if e.size == 4 {
		return uint64(order.Uint32(b))
	}
	return order.Uint64(b)
}

func (e *encoding) put(order binary.ByteOrder, b []byte, field uint64) {
	if e.size == 4 {
		order.PutUint32(b, uint32(field))
		return
	}
	order.PutUint64(b, field)
}

// findEncoding returns the encoding of a relocation type, nil for those that do not depend
// on where sections are, such as offsets in thread-local storage, and for unknown ones,
// whose fields must therefore be equal.
func findEncoding(machine elf.Machine, kind uint32) *encoding {
	switch machine {
	case elf.EM_X86_64:
		return findEncodingAMD64(elf.R_X86_64(kind))
	case elf.EM_AARCH64:
		return findEncodingARM64(elf.R_AARCH64(kind))
	}
	return nil
}

// findEncodingAMD64 knows the types of the System V ABI's AMD64 supplement, table 4.9.
func findEncodingAMD64(kind elf.R_X86_64) *encoding {
	switch kind {
	case elf.R_X86_64_64:
		return absolute(8)
	case elf.R_X86_64_32, elf.R_X86_64_32S:
		return absolute(4)
	case elf.R_X86_64_PC64:
		return relative(8)
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		return relative(4)
	case elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX:
		return gotEntry(relative(4))
	}
	return nil
}

// findEncodingARM64 knows the types of "ELF for the Arm 64-bit Architecture", section
// 5.7, that Go's linker and the C runtime use.
func findEncodingARM64(kind elf.R_AARCH64) *encoding {
	switch kind {
	case elf.R_AARCH64_ABS64:
		return absolute(8)
	case elf.R_AARCH64_ABS32:
		return absolute(4)
	case elf.R_AARCH64_PREL64:
		return relative(8)
	case elf.R_AARCH64_PREL32:
		return relative(4)
	case elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26:
		return branch()
	case elf.R_AARCH64_ADR_PREL_PG_HI21:
		return page()
	case elf.R_AARCH64_ADR_GOT_PAGE:
		return gotEntry(page())
	case elf.R_AARCH64_ADD_ABS_LO12_NC, elf.R_AARCH64_LDST8_ABS_LO12_NC:
		return low(0)
	case elf.R_AARCH64_LDST16_ABS_LO12_NC:
		return low(1)
	case elf.R_AARCH64_LDST32_ABS_LO12_NC:
		return low(2)
	case elf.R_AARCH64_LDST64_ABS_LO12_NC:
		return low(3)
	case elf.R_AARCH64_LDST128_ABS_LO12_NC:
		return low(4)
	case elf.R_AARCH64_LD64_GOT_LO12_NC:
		return gotEntry(low(3))
	}
	return nil
}

// absolute is the encoding of an address as a number of size bytes.
func absolute(size int) *encoding {
	return &encoding{
		size:   size,
		decode: func(field, _ uint64) uint64 { return field },
		encode: func(_, _, addr uint64) uint64 { return addr },
	}
}

// relative is the encoding of an address as its distance from the field.
func relative(size int) *encoding {
	return &encoding{
		size:   size,
		decode: func(field, place uint64) uint64 { return place + signExtend(field, 8*size) },
		encode: func(_, place, addr uint64) uint64 { return addr - place },
	}
}

func gotEntry(e *encoding) *encoding {
	e.got = true
	return e
}

// branch is the encoding in the instructions B and BL: 26 bits of the distance in words.
func branch() *encoding {
	const mask = 1<<26 - 1
	return &encoding{
		size:   4,
		decode: func(field, place uint64) uint64 { return place + signExtend(field&mask, 26)<<2 },
		encode: func(field, place, addr uint64) uint64 { return field&^mask | (addr-place)>>2&mask },
	}
}

// page is the encoding in the instruction ADRP: 21 bits of the distance in pages of 4 kB,
// the lower two of them in bits 29 and 30, the others from bit 5 on.
func page() *encoding {
	const pageMask, mask = 1<<12 - 1, 3<<29 | (1<<19-1)<<5
	return &encoding{
		size: 4,
		part: true,
		decode: func(field, place uint64) uint64 {
			return place&^pageMask + signExtend(field>>29&3|field>>5&(1<<19-1)<<2, 21)<<12
		},
		encode: func(field, place, addr uint64) uint64 {
			pages := (addr&^pageMask - place&^pageMask) >> 12
			return field&^mask | pages&3<<29 | pages>>2&(1<<19-1)<<5
		},
	}
}

// low is the encoding in ADD and in loads and stores of 1<<scale bytes: the lower 12 bits
// of the address, from bit 10 on.
func low(scale int) *encoding {
	const mask = (1<<12 - 1) << 10
	return &encoding{
		size:   4,
		part:   true,
		decode: func(field, _ uint64) uint64 { return field & mask >> 10 << scale },
		encode: func(field, _, addr uint64) uint64 { return field&^mask | addr&(1<<12-1)>>scale<<10 },
	}
}

// signExtend extends a number of so many bits.
func signExtend(n uint64, bits int) uint64 {
	shift := 64 - bits
	return uint64(int64(n<<shift) >> shift)
}
