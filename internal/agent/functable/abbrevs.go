//go:build linux

package functable

// The forms of entries in .debug_info, DWARF 4.
const (
	abbrevUnit = iota + 1 // a compile unit
	abbrevUnitWithoutCode
	abbrevAbstract  // a function, with its name
	abbrevFunction  // its code
	abbrevInlined   // an inlined call with one range of code
	abbrevInlinedIn // the same with several
	abbrevBlock
	abbrevParameter
	abbrevBase
	abbrevStruct
	abbrevSlice
	abbrevMember
	abbrevPointer
	abbrevPointerToAny
	abbrevArray
	abbrevSubrange
	abbrevVariable
)

// Tags, attributes and forms of DWARF 4 (its section 7.5), and Go's attributes
// (cmd/internal/dwarf).
const (
	tagArray       = 0x01
	tagParameter   = 0x05
	tagBlock       = 0x0b
	tagMember      = 0x0d
	tagPointer     = 0x0f
	tagCompileUnit = 0x11
	tagStructure   = 0x13
	tagInlined     = 0x1d
	tagSubrange    = 0x21
	tagBase        = 0x24
	tagSubprogram  = 0x2e
	tagVariable    = 0x34

	attrLocation  = 0x02
	attrName      = 0x03
	attrByteSize  = 0x0b
	attrStmtList  = 0x10
	attrLowPC     = 0x11
	attrHighPC    = 0x12
	attrLanguage  = 0x13
	attrInline    = 0x20
	attrProducer  = 0x25
	attrOrigin    = 0x31
	attrCount     = 0x37
	attrMember    = 0x38
	attrEncoding  = 0x3e
	attrFrameBase = 0x40
	attrType      = 0x49
	attrRanges    = 0x55
	attrCallFile  = 0x58
	attrCallLine  = 0x59
	attrGoKind    = 0x2900
	attrGoElem    = 0x2902

	formAddress    = 0x01
	formString     = 0x08
	formByte       = 0x0b
	formUnsigned   = 0x0f
	formRef        = 0x10 // an offset in .debug_info
	formOffset     = 0x17 // in another section
	formExpression = 0x18
)

// abbrevs returns the section .debug_abbrev.
func abbrevs() []byte {
	var w buffer
	add := func(code, tag uint64, children byte, attrs ...uint64) {
		w.uleb(code)
		w.uleb(tag)
		w.bytes(children)
		for _, v := range attrs {
			w.uleb(v)
		}
		w.bytes(0, 0)
	}
	add(abbrevUnit, tagCompileUnit, 1, attrName, formString, attrLanguage, formByte, attrProducer, formString,
		attrStmtList, formOffset, attrRanges, formOffset)
	add(abbrevUnitWithoutCode, tagCompileUnit, 1, attrName, formString, attrLanguage, formByte, attrProducer, formString)
	add(abbrevAbstract, tagSubprogram, 0, attrName, formString, attrInline, formByte)
	add(abbrevFunction, tagSubprogram, 1, attrOrigin, formRef, attrLowPC, formAddress, attrHighPC, formAddress, attrFrameBase, formExpression)
	add(abbrevInlined, tagInlined, 1, attrOrigin, formRef, attrCallFile, formUnsigned, attrCallLine, formUnsigned, attrLowPC, formAddress, attrHighPC, formAddress)
	add(abbrevInlinedIn, tagInlined, 1, attrOrigin, formRef, attrCallFile, formUnsigned, attrCallLine, formUnsigned, attrRanges, formOffset)
	add(abbrevBlock, tagBlock, 1, attrLowPC, formAddress, attrHighPC, formAddress)
	add(abbrevParameter, tagParameter, 0, attrName, formString, attrType, formRef, attrLocation, formExpression)
	add(abbrevBase, tagBase, 0, attrName, formString, attrByteSize, formUnsigned, attrEncoding, formByte, attrGoKind, formByte)
	add(abbrevStruct, tagStructure, 1, attrName, formString, attrByteSize, formUnsigned, attrGoKind, formByte)
	add(abbrevSlice, tagStructure, 1, attrName, formString, attrByteSize, formUnsigned, attrGoKind, formByte, attrGoElem, formRef)
	add(abbrevMember, tagMember, 0, attrName, formString, attrMember, formUnsigned, attrType, formRef)
	add(abbrevPointer, tagPointer, 0, attrName, formString, attrGoKind, formByte, attrType, formRef)
	add(abbrevPointerToAny, tagPointer, 0, attrName, formString, attrGoKind, formByte)
	add(abbrevArray, tagArray, 1, attrName, formString, attrByteSize, formUnsigned, attrGoKind, formByte, attrType, formRef)
	add(abbrevSubrange, tagSubrange, 0, attrType, formRef, attrCount, formUnsigned)
	add(abbrevVariable, tagVariable, 0, attrName, formString, attrType, formRef, attrLocation, formExpression)
	w.bytes(0)
	return w.b
}
