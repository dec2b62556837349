//go:build linux

package functable

// unit is a compile unit, which is a package: the functions whose files are in one list.
type unit struct {
	name    string
	info    buffer // the entries of its functions
	origins []int  // where in them an index in abstracts is to become an offset
	program buffer // of .debug_line
	ranges  []span
	files   map[int64]uint64 // numbers of files, from 1 on, by their index in the function table
	paths   []string
}

func (d *debugInfo) unit(f *function) *unit {
	u := d.units[f.unit]
	if u == nil {
		u = &unit{name: packageOf(f.name), files: map[int64]uint64{}}
		d.units[f.unit] = u
		d.order = append(d.order, u)
	}
	return u
}

// fileNumber returns the number of a file in the unit, 0 if the function table names none.
func (d *debugInfo) fileNumber(u *unit, f *function, index int64) uint64 {
	n, ok := u.files[index]
	if !ok {
		if path := d.t.file(f.unit, index); path != "" {
			u.paths = append(u.paths, path)
			n = uint64(len(u.paths))
		}
		u.files[index] = n
	}
	return n
}

// origin writes a reference to the i-th function.
func (u *unit) origin(i uint32) {
	u.origins = append(u.origins, len(u.info.b))
	u.info.u32(i)
}

const opCallFrameCFA = 0x9c

// addFunction adds a function's code.
func (d *debugInfo) addFunction(f *function) {
	u := d.unit(f)
	if last := len(u.ranges) - 1; last >= 0 && u.ranges[last].end == f.entry {
		u.ranges[last].end = f.end
	} else {
		u.ranges = append(u.ranges, span{f.entry, f.end})
	}
	u.info.uleb(abbrevFunction)
	u.origin(d.names.code(f.name))
	u.info.u64(f.entry)
	u.info.u64(f.end)
	u.info.expression(opCallFrameCFA)
	prologue, hasPrologue := d.t.prologueEnd(f)
	d.addArguments(u, f, prologue)
	for _, c := range d.t.inlinedCalls(f) {
		d.addInlined(u, f, c)
	}
	u.info.bytes(0)
	d.addLines(u, f, prologue, hasPrologue)
	d.addFrame(f)
}

func (d *debugInfo) addInlined(u *unit, f *function, c *inlinedCall) {
	abbrev := uint64(abbrevInlined)
	if len(c.ranges) > 1 {
		abbrev = abbrevInlinedIn
	}
	u.info.uleb(abbrev)
	u.origin(d.names.inlined(c.name))
	u.info.uleb(d.fileNumber(u, f, c.site.file))
	u.info.uleb(uint64(c.site.line))
	if len(c.ranges) > 1 {
		u.info.u32(uint32(len(d.ranges.b)))
		d.writeRanges(c.ranges, f.entry)
	} else {
		u.info.u64(f.entry + c.ranges[0].start)
		u.info.u64(f.entry + c.ranges[0].end)
	}
	for _, child := range c.children {
		d.addInlined(u, f, child)
	}
	u.info.bytes(0)
}
