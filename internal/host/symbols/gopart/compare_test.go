package gopart

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"testing"
)

// TestForeignReferences checks that all references to a symbol of C's must agree on where
// it is in the target.
func TestForeignReferences(t *testing.T) {
	for name, tt := range map[string]struct {
		theirs [2]uint32 // displacements; the twin has 0x100 and 0xfc
		differ bool
	}{
		"at the same address": {[2]uint32{0x100, 0xfc}, false},
		"moved":               {[2]uint32{0x108, 0x104}, false},
		"one moved":           {[2]uint32{0x108, 0xfc}, true},
		"another one":         {[2]uint32{0x108, 0x10c}, true},
	} {
		t.Run(name, func(t *testing.T) {
			x := &twin{&elf.File{FileHeader: elf.FileHeader{Machine: elf.EM_X86_64, ByteOrder: binary.LittleEndian}}, []elf.Symbol{{Name: "work"}}}
			c := &comparison{twin: x, Placement: &Placement{}, foreign: map[foreignKey]uint64{}}
			s := &section{Section: &elf.Section{SectionHeader: elf.SectionHeader{Name: ".text"}}, first: 0x1000, last: 0x1008}
			ours, theirs := binary.LittleEndian.AppendUint32(nil, 0x100), binary.LittleEndian.AppendUint32(nil, tt.theirs[0])
			ours, theirs = binary.LittleEndian.AppendUint32(ours, 0xfc), binary.LittleEndian.AppendUint32(theirs, tt.theirs[1])
			var err error
			for _, place := range []uint64{0x1000, 0x1004} {
				r := relocation{place: place, kind: uint32(elf.R_X86_64_PC32), symbol: 1}
				err = errors.Join(err, c.relocate(s, r, ours, theirs))
			}
			if differ := errors.As(err, new(*Difference)); differ != tt.differ {
				t.Errorf("got %v, want a difference: %v", err, tt.differ)
			}
		})
	}
}
