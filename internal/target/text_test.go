package target

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// textOf returns a text whose memory is a file too.
func textOf(t *testing.T, machine elf.Machine, file, mem []byte) *text {
	t.Helper()
	dir := t.TempDir()
	open := func(name string, data []byte) *os.File {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	return &text{
		file: open("file", file), mem: open("mem", mem),
		segments: []textSegment{{0, 0, int64(len(file))}}, trap: trapOf(machine),
	}
}

func TestRestoreFindsTraps(t *testing.T) {
	const at = chunkSize - 4 // the last instruction of a chunk
	for machine, trap := range map[elf.Machine]string{elf.EM_X86_64: "\xCC", elf.EM_AARCH64: "\x00\x00\x20\xD4"} {
		file := bytes.Repeat([]byte{0x00, 0x91, 0x20, 0xAA}, chunkSize/2)
		mem := bytes.Clone(file)
		for _, off := range []int{0, 8, at, at + 4, len(mem) - 4} {
			copy(mem[off:], trap)
		}
		mem[21] ^= 0xFF // not a trap
		text := textOf(t, machine, file, mem)
		n, err := text.restore()
		if n != 5 || err != nil {
			t.Errorf("%v: %d, %v", machine, n, err)
		}
		after, err := os.ReadFile(text.mem.Name())
		file[21] ^= 0xFF
		if err != nil || !bytes.Equal(after, file) {
			t.Errorf("%v: not restored, %v", machine, err)
		}
	}
}

// A trap that the program itself has stays.
func TestRestoreKeepsOwnTraps(t *testing.T) {
	file := []byte{0x90, 0xCC, 0xCC, 0x90}
	if n, err := textOf(t, elf.EM_X86_64, file, file).restore(); n != 0 || err != nil {
		t.Error(n, err)
	}
}

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
	got, err := e.textSegments(auxv)
	if want := (textSegment{0x555000002000, 0x300, 0x40}); err != nil || len(got) != 1 || got[0] != want {
		t.Error(got, err)
	}
	if got, err := e.textSegments(nil); err == nil {
		t.Error(got)
	}
	e.Progs[1].Filesz = 1 << 63
	if got, err := e.textSegments(auxv); err == nil {
		t.Error(got)
	}
}
