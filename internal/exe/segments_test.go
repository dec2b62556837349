package exe

import (
	"debug/elf"
	"encoding/binary"
	"testing"
)

func TestTextSegments(t *testing.T) {
	auxv := binary.LittleEndian.AppendUint64(nil, 6)
	for _, v := range []uint64{4096, 9, 0x555000001000, 0, 0} {
		auxv = binary.LittleEndian.AppendUint64(auxv, v)
	}
	e := executable{File: &elf.File{FileHeader: elf.FileHeader{Type: elf.ET_DYN, ByteOrder: binary.LittleEndian, Entry: 0x1000}}}
	e.Progs = []*elf.Prog{
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R, Filesz: 9}},
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Vaddr: 0x2000, Off: 0x300, Filesz: 0x40}},
	}
	got, err := e.findTextSegments(auxv)
	if want := (TextSegment{0x555000002000, 0x300, 0x40}); err != nil || len(got) != 1 || got[0] != want {
		t.Error(got, err)
	}
	if got, err := e.findTextSegments(nil); err == nil {
		t.Error(got)
	}
	e.Progs[1].Filesz = 1 << 63
	if got, err := e.findTextSegments(auxv); err == nil {
		t.Error(got)
	}
}
