package exe

// Forms of attribute values; section 7.5.6.
const (
	formAddr          = 0x01
	formBlock2        = 0x03
	formBlock4        = 0x04
	formData2         = 0x05
	formData4         = 0x06
	formData8         = 0x07
	formString        = 0x08
	formBlock         = 0x09
	formBlock1        = 0x0a
	formData1         = 0x0b
	formFlag          = 0x0c
	formSdata         = 0x0d
	formStrp          = 0x0e
	formUdata         = 0x0f
	formRefAddr       = 0x10
	formRef1          = 0x11
	formRef2          = 0x12
	formRef4          = 0x13
	formRef8          = 0x14
	formRefUdata      = 0x15
	formSecOffset     = 0x17
	formExprloc       = 0x18
	formFlagPresent   = 0x19
	formStrx          = 0x1a
	formAddrx         = 0x1b
	formStrpSup       = 0x1d
	formData16        = 0x1e
	formLineStrp      = 0x1f
	formRefSig8       = 0x20
	formImplicitConst = 0x21
	formLoclistx      = 0x22
	formRnglistx      = 0x23
	formStrx1         = 0x25
	formStrx2         = 0x26
	formStrx3         = 0x27
	formStrx4         = 0x28
	formAddrx1        = 0x29
	formAddrx2        = 0x2a
	formAddrx3        = 0x2b
	formAddrx4        = 0x2c
)

// formSizes are the sizes that depend on the unit's header.
type formSizes struct{ address, offset, ref uint64 }

// formValue is a value that is stored in the entry itself.
type formValue struct {
	text   string
	number uint64
}

// readValue reads an attribute's value. An unknown form makes c bad, since nothing after
// it can be read.
func (c *cursor) readValue(form uint64, sizes formSizes) (v formValue) {
	switch form {
	case formString:
		v.text = c.readText()
	case formData1, formFlag, formRef1, formStrx1, formAddrx1:
		v.number = c.readUint(1)
	case formData2, formRef2, formStrx2, formAddrx2:
		v.number = c.readUint(2)
	case formStrx3, formAddrx3:
		c.skip(3)
	case formData4, formRef4, formStrx4, formAddrx4:
		v.number = c.readUint(4)
	case formData8, formRef8, formRefSig8:
		v.number = c.readUint(8)
	case formData16:
		c.skip(16)
	case formAddr:
		c.skip(sizes.address)
	case formRefAddr:
		c.skip(sizes.ref)
	case formSecOffset, formStrp, formLineStrp, formStrpSup:
		c.skip(sizes.offset)
	case formUdata, formSdata, formRefUdata, formStrx, formAddrx, formLoclistx, formRnglistx:
		v.number = c.readULEB()
	case formBlock1:
		c.skip(c.readUint(1))
	case formBlock2:
		c.skip(c.readUint(2))
	case formBlock4:
		c.skip(c.readUint(4))
	case formBlock, formExprloc:
		c.skip(c.readULEB())
	case formFlagPresent, formImplicitConst:
	default:
		c.b, c.bad = nil, true
	}
	return v
}
