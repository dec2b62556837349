package exe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// elfFile returns a small executable with these sections, to make malformed ones.
func elfFile(sections map[string][]byte) []byte {
	order := binary.LittleEndian
	names := []byte{0}
	headers := []elf.Section64{{}}
	body := []byte{}
	const start = 64
	add := func(name string, kind elf.SectionType, data []byte) {
		headers = append(headers, elf.Section64{
			Name: uint32(len(names)), Type: uint32(kind), Off: uint64(start + len(body)), Size: uint64(len(data)),
		})
		names = append(append(names, name...), 0)
		body = append(body, data...)
	}
	for name, data := range sections {
		add(name, elf.SHT_PROGBITS, data)
	}
	names = append(names, ".shstrtab\x00"...)
	headers = append(headers, elf.Section64{
		Name: uint32(len(names) - 10), Type: uint32(elf.SHT_STRTAB), Off: uint64(start + len(body)), Size: uint64(len(names)),
	})
	body = append(body, names...)
	var out bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64,
		Shoff: uint64(start + len(body)), Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	for _, part := range []any{header, body, headers} {
		if err := binary.Write(&out, order, part); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}
