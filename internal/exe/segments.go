package exe

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const textLimit = 2 << 30 // bytes of a program's text

// TextSegment is a loaded part of an executable's text.
type TextSegment struct {
	Addr      uint64 // in the process
	Off, Size int64  // in the file
}

// findTrap returns the instruction that Delve writes for a breakpoint; see its
// pkg/proc/amd64_arch.go and arm64_arch.go.
func findTrap(machine elf.Machine) []byte {
	switch machine {
	case elf.EM_X86_64:
		return []byte{0xCC}
	case elf.EM_AARCH64:
		return []byte{0x00, 0x00, 0x20, 0xD4}
	}
	return nil
}

// TextSegments returns the executable segments, at their addresses in a process with
// the given auxiliary vector, and the instruction that Delve writes for a breakpoint.
func (x *File) TextSegments(auxv []byte) (list []TextSegment, trap []byte, err error) {
	err = withELF(x.r, func(e executable) error {
		if trap = findTrap(e.Machine); trap == nil {
			return diag.Errorf(diag.Unsupported, "text of %s programs cannot be compared", e.goarch())
		}
		list, err = e.findTextSegments(auxv)
		return err
	})
	return list, trap, err
}

// findTextSegments determines from AT_ENTRY in the auxiliary vector how far a PIE was
// relocated; see getauxval(3) and EntryPointFromAuxv in Delve's pkg/proc/linutil.
func (e executable) findTextSegments(auxv []byte) ([]TextSegment, error) {
	bias := uint64(0)
	if e.Type == elf.ET_DYN {
		entry, ok := findAuxvEntry(auxv, e.ByteOrder)
		if !ok {
			return nil, errors.New("no entry point in the auxiliary vector")
		}
		bias = entry - e.Entry
	}
	var list []TextSegment
	total := uint64(0)
	for _, p := range e.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || p.Filesz == 0 {
			continue
		}
		addr := bias + p.Vaddr
		total += min(p.Filesz, textLimit)
		if total >= textLimit || addr>>63 != 0 || p.Off>>62 != 0 {
			return nil, diag.Errorf(diag.TargetNotGo, "malformed executable: its text does not fit")
		}
		list = append(list, TextSegment{addr, int64(p.Off), int64(p.Filesz)})
	}
	return list, nil
}

func findAuxvEntry(auxv []byte, order binary.ByteOrder) (entry uint64, ok bool) {
	const atEntry = 9
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if order.Uint64(auxv) == atEntry {
			return order.Uint64(auxv[8:]), true
		}
	}
	return 0, false
}
