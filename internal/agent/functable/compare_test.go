//go:build linux

package functable

import (
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// debugFacts is what debug information says, in a form that can be compared.
type debugFacts struct {
	functions map[uint64]*functionFacts // by entry
	variables map[string]uint64         // addresses
	types     map[string]dwarf.Type
}

type functionFacts struct {
	name    string
	end     uint64
	lines   map[uint64]string // where a position begins
	inlined map[string]bool   // calls, with their ranges
}

// readDebugInfo reads the functions of Go that are not hidden from a debugger.
func readDebugInfo(t *testing.T, f *elf.File) debugFacts {
	t.Helper()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	facts := debugFacts{map[uint64]*functionFacts{}, map[string]uint64{}, map[string]dwarf.Type{}}
	var unit *dwarf.Entry
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return facts
		}
		switch e.Tag {
		case dwarf.TagCompileUnit:
			unit = e
			if lang, _ := e.Val(dwarf.AttrLanguage).(int64); lang != languageGo {
				r.SkipChildren()
			}
			continue
		case dwarf.TagSubprogram:
			if ranges, _ := d.Ranges(e); len(ranges) == 1 {
				facts.functions[ranges[0][0]] = readFunction(t, d, unit, e, ranges[0])
			}
		case dwarf.TagVariable:
			name, _ := e.Val(dwarf.AttrName).(string)
			if loc, _ := e.Val(dwarf.AttrLocation).([]byte); len(loc) == 9 && loc[0] == 3 {
				facts.variables[name] = binary.LittleEndian.Uint64(loc[1:])
			}
		case dwarf.TagStructType:
			name, _ := e.Val(dwarf.AttrName).(string)
			if typ, err := d.Type(e.Offset); err == nil && strings.HasPrefix(name, "runtime.") {
				facts.types[name] = typ
			}
		}
		r.SkipChildren()
	}
}

// readFunction reads a function, its lines and its inlined calls.
func readFunction(t *testing.T, d *dwarf.Data, unit, e *dwarf.Entry, pcs [2]uint64) *functionFacts {
	t.Helper()
	lines, err := d.LineReader(unit)
	if err != nil {
		t.Fatal(err)
	}
	f := &functionFacts{name: nameOf(t, d, e), end: pcs[1], lines: map[uint64]string{}, inlined: map[string]bool{}}
	var row dwarf.LineEntry
	last := ""
	for err := lines.SeekPC(pcs[0], &row); err == nil && row.Address < pcs[1] && !row.EndSequence; err = lines.Next(&row) {
		if at := fmt.Sprint(row.File.Name, ":", row.Line); at != last {
			f.lines[row.Address] = at
			last = at
		}
	}
	r := d.Reader()
	r.Seek(e.Offset)
	r.Next()
	for depth := 1; e.Children && depth > 0; {
		child, err := r.Next()
		switch {
		case err != nil:
			t.Fatal(err)
		case child.Tag == 0:
			depth--
			continue
		case child.Tag == dwarf.TagInlinedSubroutine:
			ranges, err := d.Ranges(child)
			if err != nil {
				t.Fatal(err)
			}
			file := lines.Files()[child.Val(dwarf.AttrCallFile).(int64)].Name
			f.inlined[fmt.Sprint(nameOf(t, d, child), " at ", file, ":", child.Val(dwarf.AttrCallLine), " in ", joinRanges(ranges))] = true
		}
		if child.Children {
			depth++
		}
	}
	return f
}

// joinRanges returns the ranges in order, adjacent ones as one.
func joinRanges(ranges [][2]uint64) (joined [][2]uint64) {
	slices.SortFunc(ranges, func(a, b [2]uint64) int { return int(int64(a[0] - b[0])) })
	for _, r := range ranges {
		if n := len(joined); n > 0 && joined[n-1][1] == r[0] {
			joined[n-1][1] = r[1]
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// nameOf returns the name of a function or of an inlined one.
func nameOf(t *testing.T, d *dwarf.Data, e *dwarf.Entry) string {
	t.Helper()
	if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		r := d.Reader()
		r.Seek(origin)
		var err error
		if e, err = r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	name, _ := e.Val(dwarf.AttrName).(string)
	return name
}

// compareFunctions checks that all functions that the toolchain describes are there, with
// the same lines and the same inlined calls.
func compareFunctions(t *testing.T, got, want debugFacts) {
	t.Helper()
	compared := 0
	for _, entry := range slices.Sorted(maps.Keys(want.functions)) {
		w, g := want.functions[entry], got.functions[entry]
		if isDebugCall(w.name) {
			if g != nil {
				t.Errorf("%s could be used for calls", w.name)
			}
			continue
		}
		if g == nil || g.name != w.name || g.end != w.end {
			t.Errorf("%s at %#x: %+v, want %+v", w.name, entry, g, w)
			continue
		}
		compared++
		if len(w.lines) > 0 { // the toolchain gives none for wrappers
			compareMaps(t, w.name+" has a position", g.lines, w.lines)
		}
		compareMaps(t, w.name+" has an inlined call", g.inlined, w.inlined)
		if t.Failed() {
			t.FailNow()
		}
	}
	if compared < 1000 {
		t.Errorf("compared %d functions: there must be more", compared)
	}
}

// compareMaps reports each entry that only one of the maps has.
func compareMaps[K cmp.Ordered, V comparable](t *testing.T, what string, got, want map[K]V) {
	t.Helper()
	for k, v := range got {
		if w, ok := want[k]; !ok || v != w {
			t.Errorf("%s %v: %v, want %v", what, k, v, w)
		}
	}
	for k, v := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("%s lacks %v: %v", what, k, v)
		}
	}
}

// compareTypes checks the place of the goroutines and the layout of their type.
func compareTypes(t *testing.T, got, want debugFacts) {
	t.Helper()
	if g, w := got.variables["runtime.allgs"], want.variables["runtime.allgs"]; g != w || w == 0 {
		t.Errorf("runtime.allgs is at %#x, want %#x", g, w)
	}
	for _, name := range []string{"runtime.g", "runtime.m", "runtime.gobuf"} {
		g, w := describeStruct(got.types[name]), describeStruct(want.types[name])
		if g != w || w == "" {
			t.Errorf("%s is\n%s, want\n%s", name, g, w)
		}
	}
}

// describeStruct returns the fields of a struct type, "" for another.
func describeStruct(typ dwarf.Type) string {
	s, ok := typ.(*dwarf.StructType)
	if !ok {
		return ""
	}
	var text strings.Builder
	for _, f := range s.Field {
		fmt.Fprintln(&text, f.ByteOffset, f.Name, f.Type.Size())
	}
	return text.String()
}

// readFrames returns the instructions of each function's frame, by entry.
func readFrames(t *testing.T, f *elf.File) map[uint64]string {
	t.Helper()
	s := f.Section(".debug_frame")
	if s == nil {
		t.Fatal("no .debug_frame")
	}
	all, err := io.ReadAll(s.Open())
	if err != nil {
		t.Fatal(err)
	}
	frames := map[uint64]string{}
	for len(all) > 4 {
		n := binary.LittleEndian.Uint32(all)
		b := all[4 : 4+n]
		all = all[4+n:]
		if binary.LittleEndian.Uint32(b) != 1<<32-1 { // not the common entry
			frames[binary.LittleEndian.Uint64(b[4:])] = string(b[12:])
		}
	}
	return frames
}

// compareFrames checks the frames of the functions that both have.
func compareFrames(t *testing.T, got, want map[uint64]string, functions debugFacts) {
	t.Helper()
	compared := 0
	for entry, w := range want {
		f := functions.functions[entry]
		if f == nil {
			continue
		}
		compared++
		if g := got[entry]; g != w {
			t.Errorf("the frame of %s: %x, want %x", f.name, g, w)
		}
	}
	if compared < 1000 {
		t.Errorf("compared %d frames: there must be more", compared)
	}
}
