package exe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// readAll reads everything that this package can read from an executable.
func readAll(data []byte) (mainFile string, o Optimisation, err error) {
	r := bytes.NewReader(data)
	x := &File{r: r}
	_, _ = x.Build()
	_, _ = x.Sources()
	err = withELF(r, func(e executable) error {
		mainFile = e.findMainFile()
		_, _ = e.findLines(mainFile)
		_, _ = e.readBuildID(), e.goarch()
		if o, err := e.readOrigin(); err == nil && o.size() > originLimit {
			return errors.New("the origin is too large")
		}
		_ = e.findRoots(&Origin{Build: Build{MainFile: mainFile, MainPackage: "m/a", ModulePath: "m"}})
		_, _ = e.computeFingerprint()
		_, err := e.findTextSegments(make([]byte, 64))
		return err
	})
	if err != nil {
		return "", o, err
	}
	_, _ = x.Shapes()
	_, _ = x.Function(1)
	_, _ = x.Blocks(Range{".gopclntab", 0, 64, 16})
	_, _ = x.Content(Range{".gopclntab", 0, 64, 0})
	_, _ = x.Words([]uint64{0, 1 << 63})
	_, _ = x.Strings([]uint64{0, 64, 1 << 63})
	_, _ = x.Variables()
	o, err = x.Optimisation()
	return mainFile, o, err
}

// FuzzExecutable reads malformed files.
func FuzzExecutable(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x7fELF"))
	f.Add(elfFile(nil))
	f.Add(elfFile(smallSections()))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _, _ = readAll(data) })
}

// FuzzSections reads malformed sections of a well-formed file.
func FuzzSections(f *testing.F) {
	s := smallSections()
	f.Add(s[".gopclntab"], s[".debug_info"], s[".debug_abbrev"], s[".note.go.buildid"])
	f.Fuzz(func(_ *testing.T, table, info, abbrev, note []byte) {
		_, _, _ = readAll(elfFile(map[string][]byte{
			".gopclntab": table, ".debug_info": info, ".debug_abbrev": abbrev, ".note.go.buildid": note,
		}))
	})
}

func TestSmallSections(t *testing.T) {
	file, o, err := readAll(elfFile(smallSections()))
	if err != nil || file != "/src/main.go" || o != (Optimisation{Packages: 2, Optimised: 1, Main: true}) {
		t.Errorf("%q, %+v, %v", file, o, err)
	}
}

// smallSections returns what Go's linker would write for a minimal program.
func smallSections() map[string][]byte {
	return map[string][]byte{
		".gopclntab":       smallPclntab(),
		".debug_abbrev":    {1, 0x11, 1, 0x03, 0x08, 0x13, 0x0b, 0x25, 0x08, 0, 0, 0},
		".debug_info":      append(smallUnit("main", "Go cmd/compile go1.26; regabi"), smallUnit("fmt", "Go cmd/compile go1.26; -N -l regabi")...),
		".note.go.buildid": []byte("\x04\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00Go\x00\x00a/b\x00"),
	}
}

func smallUnit(name, producer string) []byte {
	body := []byte{5, 0, 1, 8, 0, 0, 0, 0, 1} // version, kind, address size, abbreviations, code
	body = append(append(body, name...), 0, languageGo)
	body = append(append(body, producer...), 0, 0)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func smallPclntab() []byte {
	le := binary.LittleEndian
	const header = 72
	names := "a.b\x00main.main\x00"
	files := "/src/main.go\x00"
	unitsAt := uint64(header + len(names))
	filesAt := unitsAt + 4
	valuesAt := filesAt + uint64(len(files))
	funcsAt := valuesAt + 4
	out := []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}
	for _, word := range []uint64{2, 1, 0x401000, header, unitsAt, filesAt, valuesAt, funcsAt} {
		out = le.AppendUint64(out, word)
	}
	out = append(out, names...)
	out = le.AppendUint32(out, 0) // unit 0, file 0
	out = append(out, files...)
	out = append(out, 0, 2, 1, 0) // at 1: the first value is 0
	for _, entry := range []uint32{0, 20, 16, 20 + 44, 32} {
		out = le.AppendUint32(out, entry)
	}
	for _, name := range []uint32{0, 4} {
		for _, field := range []uint32{0, name, 0, 0, 0, 1, 0, 0, 0, 0, 0} {
			out = le.AppendUint32(out, field)
		}
	}
	return out
}
