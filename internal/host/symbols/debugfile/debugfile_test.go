package debugfile

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// buildProgram builds a Go program with these flags and returns its path.
func buildProgram(t testing.TB, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", append([]string{"build", "-o", out}, append(args, "github.com/dapbridge/dapbridge/internal/exe/exetest/testdata/sleeper")...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func writeDebug(t *testing.T, path string) *elf.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if err := Write(&b, f, nil); err != nil {
		t.Fatal(err)
	}
	x, err := elf.NewFile(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestWrite(t *testing.T) {
	for _, args := range [][]string{nil, {"-buildmode=pie"}, {"-ldflags=-compressdwarf=false"}} {
		path := buildProgram(t, args...)
		whole, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer whole.Close()
		debug := writeDebug(t, path)
		checkDebugFile(t, whole, debug)
	}
}

// checkDebugFile checks that debug has the sections of whole at the same addresses,
// with the debug information and without the code.
func checkDebugFile(t *testing.T, whole, debug *elf.File) {
	t.Helper()
	if len(whole.Sections) != len(debug.Sections) || len(whole.Progs) != len(debug.Progs) {
		t.Fatalf("%d sections and %d segments, want %d and %d", len(debug.Sections), len(debug.Progs), len(whole.Sections), len(whole.Progs))
	}
	for i, w := range whole.Sections {
		d := debug.Sections[i]
		if w.Name != d.Name || w.Addr != d.Addr || w.Size != d.Size {
			t.Errorf("section %+v, want %+v", d.SectionHeader, w.SectionHeader)
		}
		if d.Flags&elf.SHF_COMPRESSED != 0 {
			t.Errorf("%s is compressed", d.Name)
		}
		if w.Flags&elf.SHF_ALLOC != 0 && w.Type != elf.SHT_NOTE {
			if d.Type != elf.SHT_NOBITS {
				t.Errorf("%s has content in the file", d.Name)
			}
			continue
		}
		if want, got := readContent(t, w), readContent(t, d); !bytes.Equal(want, got) {
			t.Errorf("%s: the content of %d bytes differs from the original's %d", w.Name, len(got), len(want))
		}
	}
	for i, w := range whole.Progs {
		if d := debug.Progs[i]; d.Vaddr != w.Vaddr || d.Memsz != w.Memsz || d.Type != w.Type || d.Align != w.Align {
			t.Errorf("segment %+v, want %+v", d.ProgHeader, w.ProgHeader)
		}
	}
	want := countUnits(t, whole)
	if want == 0 {
		t.Error("the executable has no DWARF units")
	}
	if got := countUnits(t, debug); got != want {
		t.Errorf("%d DWARF units, want %d", got, want)
	}
}

func readContent(t *testing.T, s *elf.Section) []byte {
	t.Helper()
	if s.Type == elf.SHT_NULL || s.Type == elf.SHT_NOBITS {
		return nil
	}
	data, err := s.Data()
	if err != nil {
		t.Errorf("%s: %v", s.Name, err)
	}
	return data
}

func countUnits(t *testing.T, f *elf.File) (n int) {
	t.Helper()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	r := d.Reader()
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return n
		}
		if e.Tag == dwarf.TagCompileUnit {
			n++
		}
		r.SkipChildren()
	}
}

// TestLikeObjcopy compares the result with that of the real objcopy, also for an
// executable whose headers are part of a segment.
func TestLikeObjcopy(t *testing.T) {
	for _, args := range [][]string{nil, {"-buildmode=pie"}} {
		checkLikeObjcopy(t, buildProgram(t, args...))
	}
}

func checkLikeObjcopy(t *testing.T, path string) {
	t.Helper()
	objcopy := testenv.NeedsTool(t, "objcopy") // of binutils
	out := filepath.Join(t.TempDir(), "debug")
	if text, err := exec.Command(objcopy, "--only-keep-debug", path, out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	theirs, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	// objcopy must accept what we write.
	mine := filepath.Join(t.TempDir(), "mine")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if err := errors.Join(Write(&b, f, nil), os.WriteFile(mine, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(objcopy, mine, mine+".copy").CombinedOutput(); err != nil || len(text) > 0 {
		t.Errorf("objcopy of what we write: %v\n%s", err, text)
	}
	ours := writeDebug(t, path)
	if len(ours.Sections) != len(theirs.Sections) {
		t.Fatalf("%d sections, objcopy keeps %d", len(ours.Sections), len(theirs.Sections))
	}
	for _, w := range theirs.Sections {
		d := ours.Section(w.Name)
		if d == nil || d.Addr != w.Addr || d.Type != w.Type && w.Flags&elf.SHF_ALLOC != 0 {
			t.Errorf("%s: objcopy has %+v", w.Name, w.SectionHeader)
		}
	}
	if w, d := countUnits(t, theirs), countUnits(t, ours); w != d {
		t.Errorf("%d DWARF units, objcopy keeps %d", d, w)
	}
}

// FuzzWrite writes the debug files of malformed executables.
func FuzzWrite(f *testing.F) {
	whole, err := os.ReadFile(buildProgram(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:4096], uint16(0), byte(0))
	f.Add(whole, uint16(40), byte(0xff))
	f.Add([]byte("\x7fELF\x02\x01\x01"), uint16(0), byte(0))
	f.Fuzz(func(_ *testing.T, data []byte, at uint16, b byte) {
		data = bytes.Clone(data)
		if int(at) < len(data) {
			data[at] = b
		}
		_ = Write(io.Discard, bytes.NewReader(data), nil)
	})
}
