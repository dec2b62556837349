//go:build linux

package functable

// Opcodes of .debug_line (DWARF 4, section 6.2.5), and the parameters of special opcodes.
const (
	lineCopy        = 1
	lineAdvancePC   = 2
	lineAdvanceLine = 3
	lineSetFile     = 4
	linePrologueEnd = 10
	lineExtended    = 0
	lineEnd         = 1
	lineSetAddress  = 2

	lineBase       = -4
	lineRange      = 10
	lineOpcodeBase = 13
)

// addLines adds the lines of a function, as a sequence of its own. If hasPrologue is set,
// the end of the prologue is marked.
func (d *debugInfo) addLines(u *unit, f *function, prologue uint64, hasPrologue bool) {
	w := &u.program
	w.bytes(lineExtended, 9, lineSetAddress)
	w.u64(f.entry)
	s := lineState{file: 1, line: 1}
	for _, r := range f.rows {
		file := d.fileNumber(u, f, r.file)
		if file == 0 || r.line < 0 {
			continue
		}
		isPrologueEnd := hasPrologue && r.start <= prologue && prologue < r.end
		if !isPrologueEnd || r.start < prologue {
			s.row(w, r.start, file, r.line)
		}
		if isPrologueEnd {
			w.bytes(linePrologueEnd)
			s.added = false
			s.row(w, prologue, file, r.line)
		}
	}
	w.bytes(lineAdvancePC)
	w.uleb(f.end - f.entry - s.pc)
	w.bytes(lineExtended, 1, lineEnd)
}

// lineState is the state of the machine that a line program drives.
type lineState struct {
	pc    uint64
	file  uint64
	line  int64
	added bool // the position was added
}

// row adds a position, unless it is that of the last row.
func (s *lineState) row(w *buffer, pc, file uint64, line int64) {
	if s.added && s.file == file && s.line == line {
		return
	}
	if s.file != file {
		w.bytes(lineSetFile)
		w.uleb(file)
	}
	dpc, dline := pc-s.pc, line-s.line
	s.pc, s.file, s.line, s.added = pc, file, line, true
	if dline < lineBase || dline >= lineBase+lineRange {
		w.bytes(lineAdvanceLine)
		w.sleb(dline)
		dline = 0
	}
	opcode := uint64(dline-lineBase) + lineRange*dpc + lineOpcodeBase
	if dpc > 255 || opcode > 255 {
		w.bytes(lineAdvancePC)
		w.uleb(dpc)
		opcode = uint64(dline-lineBase) + lineOpcodeBase
	}
	w.bytes(byte(opcode))
}

// lines returns the unit's part of .debug_line.
func (u *unit) lines() []byte {
	var head, body, all buffer
	head.bytes(1, 1, 1, 256+lineBase, lineRange, lineOpcodeBase) // instruction length, operations in it, is_stmt, parameters
	head.bytes(0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1)               // numbers of operands
	head.bytes(0)                                                // no directories
	for _, path := range u.paths {
		head.text(path)
		head.bytes(0, 0, 0) // directory, time, size
	}
	head.bytes(0)
	body.u16(4) // DWARF version
	body.sized(head.b)
	body.bytes(u.program.b...)
	all.sized(body.b)
	return all.b
}
