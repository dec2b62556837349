package exe

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"io"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// shapesLimit bounds the functions that are hashed; a kubelet has 120,000.
const shapesLimit = 256 << 10

// Function is one Go function of an executable.
type Function struct {
	Name   string `json:"name"`
	Offset uint64 `json:"offset"` // from the start of the first function
	Size   uint64 `json:"size"`
	File   string `json:"file,omitempty"`
}

// Shapes returns a hash of each Go function's name and size, BlockHash bytes each, in
// the order of addresses. The first hash that differs between two builds of a program
// shows where the builds diverge.
func (x *File) Shapes() (hashes []byte, err error) {
	err = withFunctions(x.r, func(t *pclntab) {
		for i := range min(t.funcs, shapesLimit) {
			fn := t.readFunction(i)
			sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(fn.Name), fn.Size))
			hashes = append(hashes, sum[:BlockHash]...)
		}
	})
	return hashes, err
}

// Function returns the i-th Go function, the zero value if there are fewer.
func (x *File) Function(i uint64) (fn Function, err error) {
	err = withFunctions(x.r, func(t *pclntab) {
		if i < t.funcs {
			fn = t.readFunction(i)
		}
	})
	return fn, err
}

// withFunctions calls fn with the function table. If the table is malformed, fn may
// panic.
func withFunctions(r io.ReaderAt, fn func(*pclntab)) error {
	return withELF(r, func(e executable) error {
		for data := range e.pclntabs() {
			t, err := newPclntab(data, e.ByteOrder)
			if err == nil {
				fn(t)
				return nil
			}
		}
		return diag.Errorf(diag.TargetNotGo, "the executable has no function table")
	})
}

// readFunction returns the i-th function. The table ends with the end of the last one.
func (t *pclntab) readFunction(i uint64) Function {
	funcs := t.table(4)
	at := func(n uint64) uint64 { return t.readUint(funcs[n*t.entry:], t.entry) }
	fn := funcs[at(2*i+1):]
	field := func(n uint64) uint64 { return uint64(t.order.Uint32(fn[t.entry+4*n:])) }
	names := t.table(0)[field(0):]
	name, _, _ := bytes.Cut(names[:min(len(names), pathLimit)], []byte{0})
	return Function{
		Name: string(name), Offset: at(2*i) - at(0), Size: at(2*i+2) - at(2*i),
		File: t.readFile(field(4), field(7)),
	}
}

// readFiles returns the names of all source files, each terminated by a zero byte.
func (t *pclntab) readFiles() []byte {
	from, to := t.readUint(t.tables[2*t.word:], t.word), t.readUint(t.tables[3*t.word:], t.word)
	return t.data[from:to]
}

// SymbolAt returns the name of the function at an address, from the symbol table; ""
// if it was stripped or has no function there.
func (x *File) SymbolAt(addr uint64) (name string) {
	_ = withELF(x.r, func(e executable) error {
		symbols, err := e.Symbols()
		for _, s := range symbols {
			if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value <= addr && addr < s.Value+max(s.Size, 1) {
				name = s.Name
			}
		}
		return err
	})
	return name
}
