//go:build linux

package functable

import "debug/elf"

// Instructions of .debug_frame (DWARF 4, section 6.4.2), and the factor of its offsets.
const (
	cfaAdvance          = 0x40
	cfaAdvance1         = 0x02
	cfaAdvance2         = 0x03
	cfaAdvance4         = 0x04
	cfaOffsetExtended   = 0x05
	cfaUndefined        = 0x07
	cfaSameValue        = 0x08
	cfaDefine           = 0x0c
	cfaOffsetExtendedSF = 0x11
	cfaDefineOffsetSF   = 0x13
	cfaValueOffset      = 0x14

	dataAlignment = -4
)

// Registers by their DWARF numbers (cmd/link/internal/amd64 and arm64).
const (
	amd64SP = 7
	amd64PC = 16
	arm64SP = 31
	arm64LR = 30
)

// commonFrame returns the entry that all functions' frames refer to, as Go's linker
// writes it (cmd/link/internal/ld/dwarf.go, writeframes).
func commonFrame(machine elf.Machine) []byte {
	var w, all buffer
	w.u32(1<<32 - 1)
	w.bytes(3, 0, 1) // version, no augmentation, code alignment
	w.sleb(dataAlignment)
	if machine == elf.EM_AARCH64 {
		w.bytes(arm64LR, cfaDefine, arm64SP, 0, cfaSameValue, arm64LR, cfaValueOffset, arm64SP, 0)
	} else {
		w.bytes(amd64PC, cfaDefine, amd64SP, 8, cfaOffsetExtended, amd64PC)
		w.uleb(-8 / dataAlignment)
	}
	w.pad()
	all.sized(w.b)
	return all.b
}

// pad fills up with no operations, such that with a length before it the size is a
// multiple of 8.
func (w *buffer) pad() {
	for (len(w.b)+4)%8 != 0 {
		w.bytes(0)
	}
}

// addFrame adds the layout of a function's frame, as Go's linker does.
func (d *debugInfo) addFrame(f *function) {
	hasLR := d.t.machine == elf.EM_AARCH64
	var w buffer
	w.u32(0) // the common entry
	w.u64(f.entry)
	w.u64(f.end - f.entry)
	if hasLR && f.flag&flagTopFrame != 0 {
		w.bytes(cfaUndefined, arm64LR)
	}
	size := f.end - f.entry
	start := uint64(0)
	for s := d.t.pcValues(f.sp); s.OK && start < size; s.Next() {
		d.t.spend()
		w.checkSize()
		end, delta := min(s.End, size), s.Value
		if end == size {
			end-- // DWARF expects to stop just before the end
		}
		if !hasLR {
			delta += 8 // the return address
		}
		if hasLR && f.flag&flagTopFrame == 0 {
			if s.Value > 0 {
				w.bytes(cfaOffsetExtendedSF, arm64LR)
				w.sleb(-delta / dataAlignment)
			} else {
				w.bytes(cfaSameValue, arm64LR)
			}
		}
		w.bytes(cfaDefineOffsetSF)
		w.sleb(delta / dataAlignment)
		w.advance(end - start)
		start = s.End
	}
	w.pad()
	d.frames.sized(w.b)
}

// advance moves to a later program counter.
func (w *buffer) advance(delta uint64) {
	switch {
	case delta < 0x40:
		w.bytes(cfaAdvance | byte(delta))
	case delta < 1<<8:
		w.bytes(cfaAdvance1, byte(delta))
	case delta < 1<<16:
		w.bytes(cfaAdvance2)
		w.u16(uint16(delta))
	default:
		w.bytes(cfaAdvance4)
		w.u32(uint32(delta))
	}
}
