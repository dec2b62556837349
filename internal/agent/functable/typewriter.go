//go:build linux

package functable

// typeWriter writes the unit with types and variables.
type typeWriter struct {
	buffer
	offsets map[*goType]uint32
	waiting []*goType
	patches map[int]*goType // where the offset of a type is to be written
	word    uint32          // a word of an argument
	anyPtr  uint32          // a pointer of which no more is known
	uintptr uint32
}

// unitStart is the offset of the types' unit after its length.
const unitStart = 4

// Encodings of base types (DWARF 4, section 7.8).
const (
	encodingBool     = 0x02
	encodingComplex  = 0x03
	encodingFloat    = 0x04
	encodingSigned   = 0x05
	encodingUnsigned = 0x07
)

func newTypeWriter(producer string) *typeWriter {
	w := &typeWriter{offsets: map[*goType]uint32{}, patches: map[int]*goType{}}
	(&debugInfo{producer: producer}).beginUnit(&w.buffer, abbrevUnitWithoutCode, "runtime")
	w.uintptr = w.base("uintptr", 8, encodingUnsigned, kindUintptr)
	w.word = w.base("raw argument word", 8, encodingUnsigned, kindUintptr)
	w.anyPtr = w.offset()
	w.uleb(abbrevPointerToAny)
	w.text("unsafe.Pointer")
	w.bytes(kindUnsafePointer)
	return w
}

// offset returns where in .debug_info the next entry is.
func (w *typeWriter) offset() uint32 { return unitStart + uint32(len(w.b)) }

func (w *typeWriter) base(name string, size uint64, encoding, kind byte) uint32 {
	at := w.offset()
	w.uleb(abbrevBase)
	w.text(name)
	w.uleb(size)
	w.bytes(encoding, kind)
	return at
}

// reference writes a reference to a type, which may come later.
func (w *typeWriter) reference(typ *goType) {
	if typ == nil {
		w.u32(w.anyPtr)
		return
	}
	w.patches[len(w.b)] = typ
	w.waiting = append(w.waiting, typ)
	w.u32(0)
}

func (w *typeWriter) variable(name string, addr uint64, typ uint32) {
	w.uleb(abbrevVariable)
	w.text(name)
	w.u32(typ)
	var location buffer
	location.bytes(0x03) // DW_OP_addr
	location.u64(addr)
	w.expression(location.b...)
}

// end returns the unit.
func (w *typeWriter) end() []byte {
	for len(w.waiting) > 0 {
		typ := w.waiting[0]
		w.waiting = w.waiting[1:]
		if _, ok := w.offsets[typ]; !ok {
			w.offsets[typ] = w.offset()
			w.write(typ)
		}
	}
	w.bytes(0)
	for at, typ := range w.patches {
		o := w.offsets[typ]
		w.b[at], w.b[at+1], w.b[at+2], w.b[at+3] = byte(o), byte(o>>8), byte(o>>16), byte(o>>24)
	}
	return w.b
}

// write writes one type.
func (w *typeWriter) write(typ *goType) {
	switch k := typ.kind; {
	case k == kindBool:
		w.base(typ.name, typ.size, encodingBool, k)
	case k >= kindInt && k <= kindInt64:
		w.base(typ.name, typ.size, encodingSigned, k)
	case k >= kindUint && k <= kindUintptr:
		w.base(typ.name, typ.size, encodingUnsigned, k)
	case k == kindFloat32 || k == kindFloat64:
		w.base(typ.name, typ.size, encodingFloat, k)
	case k > kindFloat64 && k <= kindComplex128:
		w.base(typ.name, typ.size, encodingComplex, k)
	case k == kindPointer && typ.elem != nil:
		w.uleb(abbrevPointer)
		w.text(typ.name)
		w.bytes(kindPointer)
		w.reference(typ.elem)
	case k == kindStruct:
		w.structure(typ)
	case k == kindArray:
		w.uleb(abbrevArray)
		w.text(typ.name)
		w.uleb(typ.size)
		w.bytes(kindArray)
		w.reference(typ.elem)
		w.uleb(abbrevSubrange)
		w.u32(w.uintptr)
		w.uleb(typ.len)
		w.bytes(0)
	case k == kindSlice:
		w.slice(typ.name, typ.elem)
	case typ.size == 8:
		w.uleb(abbrevPointerToAny)
		w.text(typ.name)
		w.bytes(kindUnsafePointer)
	default: // strings, interfaces: no more than their size matters
		w.uleb(abbrevStruct)
		w.text(typ.name)
		w.uleb(typ.size)
		w.bytes(kindStruct, 0)
	}
}

func (w *typeWriter) structure(typ *goType) {
	w.uleb(abbrevStruct)
	w.text(typ.name)
	w.uleb(typ.size)
	w.bytes(kindStruct)
	for _, f := range typ.fields {
		w.uleb(abbrevMember)
		w.text(f.name)
		w.uleb(f.offset)
		w.reference(f.typ)
	}
	w.bytes(0)
}

// slice writes a slice type and returns where.
func (w *typeWriter) slice(name string, elem *goType) uint32 {
	at := w.offset()
	w.uleb(abbrevSlice)
	w.text(name)
	w.uleb(24)
	w.bytes(kindSlice)
	w.reference(elem)
	for i, field := range []string{"array", "len", "cap"} {
		w.uleb(abbrevMember)
		w.text(field)
		w.uleb(8 * uint64(i))
		if i == 0 {
			w.reference(&goType{name: "*" + elem.name, kind: kindPointer, size: 8, elem: elem})
		} else {
			w.u32(w.uintptr)
		}
	}
	w.bytes(0)
	return at
}

// addGoroutines adds the runtime's list of goroutines and its types.
func (d *debugInfo) addGoroutines(g *goroutines) {
	pointer := &goType{name: "*runtime.g", kind: kindPointer, size: 8, elem: g.g}
	list := d.types.slice("[]*runtime.g", pointer)
	d.types.variable("runtime.allgs", g.all, list)
	d.types.variable("runtime.allglen", g.all+8, d.types.uintptr) // the list's own length
	d.tls = g.tls
}
