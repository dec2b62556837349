//go:build linux

package functable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// imageLimit bounds the bytes of a process's executable that are held in memory; a
// kubelet has 130 MB.
const imageLimit = 512 << 20

// image is the executable of a process, as it is loaded. All addresses are those of the
// file: a position-independent executable is loaded base bytes above them, and so are the
// addresses that its memory holds. Methods that read panic outside of what is loaded.
type image struct {
	mem      io.ReaderAt
	base     uint64
	machine  elf.Machine
	segments []segment
}

// segment is a loaded part of the executable.
type segment struct {
	addr uint64
	data []byte
}

// openImage reads the executable of a process from its memory, while it runs.
func openImage(pid int) (*image, error) {
	f, err := elf.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("it is for %s", f.Machine)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	m := &image{mem: mem, machine: f.Machine}
	if f.Type == elf.ET_DYN {
		auxv, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.base = findEntry(auxv) - f.Entry
	}
	if err := m.load(f.Progs); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *image) close() error { return m.mem.(io.Closer).Close() }

// findEntry returns the program's entry point from the auxiliary vector (getauxval(3)).
func findEntry(auxv []byte) uint64 {
	const atEntry = 9
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.LittleEndian.Uint64(auxv) == atEntry {
			return binary.LittleEndian.Uint64(auxv[8:])
		}
	}
	return 0
}

func (m *image) load(progs []*elf.Prog) error {
	left := uint64(imageLimit)
	for _, p := range progs {
		if p.Type != elf.PT_LOAD || p.Memsz == 0 {
			continue
		}
		if p.Memsz > left {
			return errors.New("it is too large")
		}
		left -= p.Memsz
		data := make([]byte, p.Memsz)
		if _, err := m.mem.ReadAt(data, int64(p.Vaddr+m.base)); err != nil {
			return fmt.Errorf("read the process's memory: %w", err)
		}
		m.segments = append(m.segments, segment{p.Vaddr, data})
	}
	return nil
}

// from returns what is loaded from addr on, to the end of the segment.
func (m *image) from(addr uint64) []byte {
	for _, s := range m.segments {
		if off := addr - s.addr; off < uint64(len(s.data)) {
			return s.data[off:]
		}
	}
	panic(fmt.Sprintf("address %#x is not loaded", addr))
}

// slice returns n loaded bytes.
func (m *image) slice(addr, n uint64) []byte { return m.from(addr)[:n:n] }

func (m *image) word(addr uint64) uint64 { return binary.LittleEndian.Uint64(m.slice(addr, 8)) }

// pointer returns the address in the file to which the loaded pointer at addr points.
func (m *image) pointer(addr uint64) uint64 { return m.word(addr) - m.base }

// contains reports whether n bytes at addr are loaded.
func (m *image) contains(addr, n uint64) bool {
	for _, s := range m.segments {
		if off := addr - s.addr; off <= uint64(len(s.data)) && n <= uint64(len(s.data))-off {
			return true
		}
	}
	return false
}

// candidatesLimit bounds the places that are examined for what has no fixed place.
const candidatesLimit = 64

// find calls yield with each address that is a multiple of align and at which the bytes
// are loaded, until yield returns true, or for the first candidatesLimit of them.
func find(in []segment, pattern []byte, align uint64, yield func(addr uint64) bool) bool {
	left := candidatesLimit
	for _, s := range in {
		for off := uint64(0); ; off++ {
			i := bytes.Index(s.data[off:], pattern)
			if i < 0 {
				break
			}
			off += uint64(i)
			if (s.addr+off)%align != 0 {
				continue
			}
			if yield(s.addr + off) {
				return true
			}
			if left--; left == 0 {
				return false
			}
		}
	}
	return false
}

// readWord reads a word of the process's memory anywhere, at the address that the process
// itself uses.
func (m *image) readWord(addr uint64) (uint64, error) {
	var b [8]byte
	if _, err := m.mem.ReadAt(b[:], int64(addr)); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}
