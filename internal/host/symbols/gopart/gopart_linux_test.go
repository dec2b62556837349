package gopart

import (
	"bytes"
	"context"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/symbols/debugfile"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// file is a target on this machine.
type file struct{ *exe.File }

func (f file) Blocks(_ context.Context, r exe.Range) ([]byte, error)  { return f.File.Blocks(r) }
func (f file) Content(_ context.Context, r exe.Range) ([]byte, error) { return f.File.Content(r) }

// program is a way to build testdata/program.
type program struct {
	arch  string // GOARCH
	cc    string // a command line
	mode  string // -buildmode
	flags string // -ldflags
	edit  [2]string
}

// build builds the program and returns its path. -trimpath leaves the linker's flags out
// of the executable.
func build(t *testing.T, p program) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/program")); err != nil {
		t.Fatal(err)
	}
	if p.edit[0] != "" {
		path := filepath.Join(dir, "main.go")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), p.edit[0]); n != 1 {
			t.Fatalf("%q occurs %d times", p.edit[0], n)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), p.edit[0], p.edit[1])), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cc := filepath.Join(dir, "cc")
	if err := os.WriteFile(cc, []byte("#!/bin/sh\nexec "+p.cc+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-trimpath", "-buildmode="+p.mode, "-ldflags="+p.flags, "-o", out, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CC="+cc, "CGO_ENABLED=1", "GOARCH="+p.arch, "GOFLAGS=-buildvcs=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

const twinFlags = "-compressdwarf=false -extldflags=-Wl,--emit-relocs"

func openELF(t *testing.T, path string) *elf.File {
	t.Helper()
	x, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// compare compares a twin with a target.
func compare(t *testing.T, twin, target string) (*Placement, error) {
	t.Helper()
	x, err := exe.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	want, err := x.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return Compare(t.Context(), openELF(t, twin), *want, file{x})
}

// debugFile returns the debug file of a twin for a target.
func debugFile(t *testing.T, twin string, p *Placement) *elf.File {
	t.Helper()
	in, err := os.Open(twin)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	e, err := NewEditor(in, p)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := debugfile.Write(&b, in, e.Edit); err != nil {
		t.Fatal(err)
	}
	x, err := elf.NewFile(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestCompare builds targets by other C compilers, of whose symbols and debug information
// the moved ones must be equal, as far as they are Go's.
func TestCompare(t *testing.T) {
	testenv.SkipShort(t, "it builds programs")
	t.Run(runtime.GOARCH, func(t *testing.T) {
		checkCompilers(t, program{arch: runtime.GOARCH, cc: `gcc "$@"`}, "objcopy", compilers())
	})
	t.Run("cross compiled", func(t *testing.T) {
		testenv.SecondTier(t)
		const prefix = "aarch64-linux-gnu-"
		checkCompilers(t, program{arch: "arm64", cc: prefix + `gcc "$@"`}, prefix+"objcopy", map[string]string{
			"the same":    prefix + `gcc "$@"`,
			"unoptimised": prefix + `gcc "$@" -O0 -fstack-protector-all`,
			"larger data": prefix + `gcc "$@" -DSHIFT=5000`,
		})
	})
}

// compilers returns command lines of C compilers. The second tier has others
// than the one that the twins are built by.
func compilers() map[string]string {
	list := map[string]string{
		"the same":    `gcc "$@"`,
		"unoptimised": `gcc "$@" -O0 -fstack-protector-all`,
		"larger data": `gcc "$@" -DSHIFT=5000`,
	}
	if testenv.All() {
		list["clang"] = `clang "$@"`
		if _, err := exec.LookPath("gcc-11"); err == nil { // see .ci/apt
			list["gcc-11"] = `gcc-11 "$@"`
		}
	}
	return list
}

// checkCompilers compares twins, as an executable and as a PIE, with targets by each of
// the compilers.
func checkCompilers(t *testing.T, p program, objcopy string, compilers map[string]string) {
	for _, mode := range []string{"exe", "pie"} {
		p := p
		p.mode, p.flags = mode, twinFlags
		twin := build(t, p)
		p.flags = ""
		for name, cc := range compilers {
			p.cc = cc
			t.Run(mode+"/"+name, func(t *testing.T) { checkTarget(t, twin, build(t, p), objcopy) })
		}
	}
}

// checkTarget compares a twin with the target, stripped, and the debug file that results
// with the target's own debug information.
func checkTarget(t *testing.T, twin, target, objcopy string) {
	t.Helper()
	stripped := filepath.Join(t.TempDir(), "stripped")
	if out, err := exec.Command(objcopy, "--strip-all", target, stripped).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := compare(t, twin, stripped)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for _, s := range p.sections {
		if s.shift != 0 {
			moved++
		}
	}
	t.Logf("%d of %d sections are elsewhere", moved, len(p.sections))
	got, want := debugFile(t, twin, p), openELF(t, target)
	checkSymbols(t, got, want)
	checkDWARF(t, got, want)
}

// checkSymbols checks that all Go symbols have the addresses that they have in want.
func checkSymbols(t *testing.T, got, want *elf.File) {
	t.Helper()
	addrs := map[string]uint64{}
	for _, s := range goSymbols(t, want) {
		addrs[s.Name] = s.Value
	}
	checked := 0
	for _, s := range goSymbols(t, got) {
		if addr, ok := addrs[s.Name]; !ok || addr != s.Value {
			t.Errorf("%s is at %#x, want %#x", s.Name, s.Value, addr)
		}
		delete(addrs, s.Name)
		checked++
	}
	for name := range addrs {
		t.Errorf("there is no symbol %s", name)
	}
	if checked < 1000 {
		t.Errorf("%d symbols, want more", checked)
	}
}

// goSymbols returns the symbols whose names are Go's and occur once.
func goSymbols(t *testing.T, x *elf.File) []elf.Symbol {
	t.Helper()
	all, err := x.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, s := range all {
		count[s.Name]++
	}
	return slices.DeleteFunc(all, func(s elf.Symbol) bool {
		return !strings.Contains(s.Name, ".") || strings.HasSuffix(s.Name, ".c") || strings.HasPrefix(s.Name, ".") ||
			strings.HasSuffix(s.Name, ".S") || strings.Contains(s.Name, "@") || strings.HasPrefix(s.Name, "__") ||
			strings.HasPrefix(s.Name, "completed.") || strings.HasSuffix(s.Name, ".cold") || s.Section == elf.SHN_UNDEF || s.Section >= elf.SHN_LORESERVE || count[s.Name] > 1
	})
}

// checkDWARF checks that Go's compile units have the same content as those of want.
func checkDWARF(t *testing.T, got, want *elf.File) {
	t.Helper()
	ours, theirs := readUnits(t, got), readUnits(t, want)
	if len(ours) < 1000 || len(ours) != len(theirs) {
		t.Errorf("%d entries, want %d", len(ours), len(theirs))
	}
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			t.Fatalf("entry %d is\n%s\nwant\n%s", i, ours[i], theirs[i])
		}
	}
}

// readUnits returns the entries of Go's compile units with their attributes, and the code
// addresses of their lines.
func readUnits(t *testing.T, x *elf.File) (list []string) {
	t.Helper()
	d, err := x.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	inGo := false
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return list
		}
		if e.Tag == dwarf.TagCompileUnit {
			const languageGo = 22
			inGo = e.Val(dwarf.AttrLanguage) == int64(languageGo)
			list = append(list, readLines(t, d, e, inGo)...)
		}
		if inGo {
			list = append(list, formatEntry(e))
		}
	}
}

// formatEntry formats an entry without offsets into other sections, which depend on C's
// part of those.
func formatEntry(e *dwarf.Entry) string {
	var b strings.Builder
	fmt.Fprint(&b, e.Tag)
	for _, f := range e.Field {
		switch f.Class {
		case dwarf.ClassLinePtr, dwarf.ClassReference, dwarf.ClassRngListsPtr, dwarf.ClassRangeListPtr, dwarf.ClassLocListPtr, dwarf.ClassLocList, dwarf.ClassRngList, dwarf.ClassAddrPtr:
			continue
		}
		fmt.Fprintf(&b, " %v=%v", f.Attr, f.Val)
	}
	return b.String()
}

func readLines(t *testing.T, d *dwarf.Data, unit *dwarf.Entry, inGo bool) (list []string) {
	t.Helper()
	if !inGo {
		return nil
	}
	r, err := d.LineReader(unit)
	if err != nil {
		t.Fatal(err)
	}
	for r != nil {
		var line dwarf.LineEntry
		if err := r.Next(&line); err != nil {
			break
		}
		list = append(list, fmt.Sprintf("%x %s:%d", line.Address, filepath.Base(line.File.Name), line.Line))
	}
	return list
}

// TestDifferences compares a twin with targets whose Go parts differ in one place.
func TestDifferences(t *testing.T) {
	testenv.SkipShort(t, "it builds programs")
	p := program{arch: runtime.GOARCH, cc: `gcc "$@"`, mode: "pie", flags: twinFlags}
	twin := build(t, p)
	for name, tt := range map[string]struct {
		edit            [2]string
		section, symbol string
	}{
		"instruction": {[2]string{"{ return n + 1 }", "{ return n + 3 }"}, ".text", "main.twice"},
		"constant":    {[2]string{`"three"`, `"seven"`}, ".rodata", "go:string."},
		"type":        {[2]string{"	next *request\n", "	next *request `x:\"\"`\n"}, ".data.rel.ro", "typerel."},
		"inlining":    {[2]string{"func inner", "//go:noinline\nfunc inner"}, ".gopclntab", ""},
		"reference":   {[2]string{"println(handle(r), int(n), twice(r.id), counter)", "println(handle(r), int(n), twice(r.id), other)"}, ".text", "main.main"},
		"initial":     {[2]string{"id: 1}", "id: 3}"}, ".text", "main.init"},
	} {
		t.Run(name, func(t *testing.T) {
			p := p
			p.cc, p.flags, p.edit = `gcc "$@" -DSHIFT=5000`, "-s -w", tt.edit
			_, err := compare(t, twin, build(t, p))
			d, ok := errors.AsType[*Difference](err)
			if !ok {
				t.Fatalf("got %v, want a difference", err)
			}
			if d.Section != tt.section {
				t.Errorf("%v, want it in %s", d, tt.section)
			}
			if !strings.HasPrefix(d.Symbol, tt.symbol) {
				t.Errorf("%v, want it in %s", d, tt.symbol)
			}
		})
	}
}

// liar is a target that sends other content than its fingerprint stands for: zeros at the
// end of a section, where C's code is.
type liar struct {
	file
	section string
}

func (l liar) Content(ctx context.Context, r exe.Range) ([]byte, error) {
	content, err := l.file.Content(ctx, r)
	if r.Section == l.section {
		content[len(content)-1] ^= 1
	}
	return content, err
}

// TestFingerprint compares a twin with targets that send something else than they say.
func TestFingerprint(t *testing.T) {
	testenv.SkipShort(t, "it builds programs")
	p := program{arch: runtime.GOARCH, cc: `gcc "$@"`, mode: "pie", flags: twinFlags}
	twin := build(t, p)
	p.cc, p.flags = `gcc "$@" -DSHIFT=5000`, "-s -w"
	x, err := exe.Open(build(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	want, err := x.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{".text", ".data", dynamicTable} {
		_, err := Compare(t.Context(), openELF(t, twin), *want, liar{file{x}, section})
		if err == nil {
			t.Errorf("%s: the target was believed", section)
		}
	}
	if _, err := Compare(t.Context(), openELF(t, twin), *want, file{x}); err != nil {
		t.Error(err)
	}
}

// TestChangedPointer compares a twin with a target in which a pointer that the loader
// writes is another one.
func TestChangedPointer(t *testing.T) {
	testenv.SkipShort(t, "it builds programs")
	p := program{arch: runtime.GOARCH, cc: `gcc "$@"`, mode: "pie", flags: twinFlags}
	twin := build(t, p)
	p.cc, p.flags = `gcc "$@" -DSHIFT=5000`, "-s -w"
	target := build(t, p)
	placement, err := compare(t, twin, target)
	if err != nil {
		t.Fatal(err)
	}
	x, err := open(openELF(t, twin))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if !changePointer(x, placement, openELF(t, target), file) {
		t.Fatal("no pointer to change")
	}
	changed := filepath.Join(t.TempDir(), "changed")
	if err := os.WriteFile(changed, file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := compare(t, twin, changed); !errors.As(err, new(*Difference)) {
		t.Errorf("got %v, want a difference", err)
	}
}

// changePointer changes the loader's relocation of a pointer from Go's part to Go's part.
func changePointer(x *twin, p *Placement, target *elf.File, file []byte) bool {
	places := map[uint64]bool{}
	for _, s := range p.sorted() {
		for _, r := range s.relocations {
			if p.find(x.symbol(r), r.addend) != nil {
				places[r.place+s.shift] = true
			}
		}
	}
	table := target.Section(dynamicTable)
	for at := table.Offset; at < table.Offset+table.Size; at += relocationSize {
		if places[x.ByteOrder.Uint64(file[at:])] {
			file[at+16] += 8 // the addend
			return true
		}
	}
	return false
}
