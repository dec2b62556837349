//go:build linux

package functable

import (
	"encoding/binary"
	"errors"
	"strings"
)

// goType is a type as the program's own descriptor gives it (internal/abi/type.go).
type goType struct {
	addr   uint64
	name   string
	kind   uint8
	size   uint64
	elem   *goType // of a pointer, array or slice; nil if it is not known
	len    uint64  // of an array
	fields []goField
}

type goField struct {
	name   string
	offset uint64
	typ    *goType
}

// Kinds of types (internal/abi/type.go).
const (
	kindBool          = 1
	kindInt           = 2
	kindInt64         = 6
	kindUint          = 7
	kindUintptr       = 12
	kindFloat32       = 13
	kindFloat64       = 14
	kindComplex128    = 16
	kindArray         = 17
	kindPointer       = 22
	kindSlice         = 23
	kindString        = 24
	kindStruct        = 25
	kindUnsafePointer = 26

	kindMask = 1<<5 - 1
)

// Offsets in a type descriptor.
const (
	typeFlag   = 20
	typeKind   = 23
	typeName   = 40
	typeElem   = 48
	typeLen    = 64 // of an array
	typeFields = 56 // of a struct
	typeSize   = 48 // without what depends on the kind

	flagExtraStar = 1 << 1 // the name begins with a star that is not part of it

	typesLimit  = 4096
	fieldsLimit = 4096
)

// typeReader reads types and what they consist of, each once.
type typeReader struct {
	t     *table
	known map[uint64]*goType
}

// findStruct returns the struct type with the name: a descriptor that refers to it.
func (t *table) findStruct(name string) (*goType, error) {
	text := "*" + name
	pattern := append([]byte{byte(len(text))}, text...)
	size := t.types.end - t.types.start
	types := []segment{{t.types.start, t.slice(t.types.start, size)}}
	r := &typeReader{t, map[uint64]*goType{}}
	var found *goType
	find(types, pattern, 1, func(at uint64) bool {
		ref := binary.LittleEndian.AppendUint32(nil, uint32(at-1-t.types.start)) // before the length is a byte of flags
		return find(types, ref, 8, func(at uint64) bool {
			addr := at - typeName
			if addr-t.types.start >= size || !t.contains(addr, typeSize) {
				return false
			}
			if b := t.slice(addr, typeSize); b[typeKind]&kindMask == kindStruct && b[typeFlag]&flagExtraStar != 0 {
				found = r.read(addr)
			}
			return found != nil
		})
	})
	if found == nil {
		return nil, errors.New("no description of the type " + name)
	}
	return found, nil
}

// read reads the type at an address. Of what belongs to other packages than the
// runtime it reads no more than the name.
func (r *typeReader) read(addr uint64) *goType {
	if known := r.known[addr]; known != nil {
		return known
	}
	if len(r.known) > typesLimit {
		panic("too many types")
	}
	b := r.t.slice(addr, typeSize)
	typ := &goType{
		addr: addr, kind: b[typeKind] & kindMask, size: binary.LittleEndian.Uint64(b),
		name: r.text(r.t.types.start + uint64(binary.LittleEndian.Uint32(b[typeName:]))),
	}
	if b[typeFlag]&flagExtraStar != 0 {
		typ.name = strings.TrimPrefix(typ.name, "*")
	}
	r.known[addr] = typ
	switch typ.kind {
	case kindPointer:
		if isRuntimes(r.nameAt(r.t.pointer(addr + typeElem))) {
			typ.elem = r.read(r.t.pointer(addr + typeElem))
		}
	case kindArray:
		typ.elem, typ.len = r.read(r.t.pointer(addr+typeElem)), r.t.word(addr+typeLen)
	case kindSlice:
		typ.elem = r.read(r.t.pointer(addr + typeElem))
	case kindStruct:
		typ.fields = r.fields(addr)
	}
	return typ
}

// isRuntimes reports whether a type is named and the runtime's own.
func isRuntimes(name string) bool {
	return strings.HasPrefix(strings.TrimPrefix(name, "*"), "runtime.")
}

func (r *typeReader) nameAt(addr uint64) string {
	return r.text(r.t.types.start + uint64(binary.LittleEndian.Uint32(r.t.slice(addr, typeSize)[typeName:])))
}

func (r *typeReader) fields(addr uint64) (fields []goField) {
	list, n := r.t.pointer(addr+typeFields), r.t.word(addr+typeFields+8)
	if n > fieldsLimit {
		panic("too many fields")
	}
	for i := range n {
		const size = 64 // bytes of a goField, about
		r.t.keep(size)
		f := list + 24*i
		fields = append(fields, goField{
			name: r.text(r.t.pointer(f)), offset: r.t.word(f + 16), typ: r.read(r.t.pointer(f + 8)),
		})
	}
	return fields
}

// text reads a name: a byte of flags, its length, and the bytes.
func (r *typeReader) text(addr uint64) string {
	b := r.t.from(addr)[1:]
	n, used := binary.Uvarint(b[:min(len(b), binary.MaxVarintLen32)])
	if used <= 0 || n > nameLimit {
		panic("malformed name")
	}
	r.t.keep(int(n))
	return string(b[used:][:n])
}

// offset returns where a struct's field is, by the names on the way.
func (typ *goType) offset(path ...string) (offset uint64, ok bool) {
	for _, name := range path {
		var next *goType
		for _, f := range typ.fields {
			if f.name == name {
				offset += f.offset
				next = f.typ
			}
		}
		if next == nil {
			return 0, false
		}
		typ = next
	}
	return offset, true
}
