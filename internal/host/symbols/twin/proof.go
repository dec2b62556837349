package twin

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/host/symbols/gopart"
)

// prove returns nil if the file at path is the same program as the original, whose
// fingerprint is want: the same sections are loaded at the same addresses with the
// same content. Otherwise the error says where they first differ and what the most
// likely cause is.
func prove(ctx context.Context, want exe.Fingerprint, path string, o Original, r *recipe.Recipe) error {
	x, err := exe.Open(path)
	if err != nil {
		return err
	}
	defer x.Close()
	got, err := x.Fingerprint()
	if err != nil {
		return err
	}
	section := firstDifferentSection(want, *got)
	if section == "" {
		return nil
	}
	d := difference{section: section, recipe: r, resized: firstResized(want, *got)}
	if err := d.locate(ctx, x, o, *got); err != nil {
		return err
	}
	return d.asError()
}

// firstDifferentSection returns the name of the first section that differs, "" if
// none does. .text comes first, since other sections depend on the code.
func firstDifferentSection(want, got exe.Fingerprint) string {
	if want.Arch != got.Arch || want.Type != got.Type {
		return fmt.Sprintf("type of the executable (%s %v instead of %s %v)", got.Arch, got.Type, want.Arch, want.Type)
	}
	have := map[string]exe.Section{}
	for _, s := range got.Sections {
		have[s.Name] = s
	}
	first := ""
	for _, s := range want.Sections {
		if have[s.Name] != s && (first == "" || s.Name == ".text") {
			first = s.Name
		}
		delete(have, s.Name)
	}
	for _, s := range got.Sections {
		if _, extra := have[s.Name]; extra && first == "" {
			first = s.Name
		}
	}
	if first == "" && want.Entry != got.Entry {
		return "entry point"
	}
	return first
}

// firstResized describes the first section other than the code whose size differs,
// "" if there is none. All sections after it have moved, and with them every address
// in the code.
func firstResized(want, got exe.Fingerprint) string {
	sizes := map[string]uint64{}
	for _, s := range got.Sections {
		sizes[s.Name] = s.Size
	}
	for _, s := range want.Sections {
		if size, ok := sizes[s.Name]; ok && s.Name != ".text" && size != s.Size {
			return fmt.Sprintf("%s has %d bytes instead of %d", s.Name, size, s.Size)
		}
	}
	return ""
}

// prove compares the twin at path with the original: all of it, or, if it was linked with
// its relocations, its Go part.
func (j *job) prove(ctx context.Context, want exe.Fingerprint, path string) (err error) {
	if !j.relocations {
		return prove(ctx, want, path, j.original, j.recipe)
	}
	x, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer x.Close()
	j.placement, err = gopart.Compare(ctx, x, want, j.original)
	if g, ok := errors.AsType[*gopart.Difference](err); ok {
		d := difference{section: g.Section, symbol: g.Symbol, recipe: j.recipe}
		return d.asError()
	}
	return err
}

// mayDifferInC reports whether a twin that differs from the original may do so only in its
// C code: an external linker has linked it, and its Go functions have the same names and sizes.
func mayDifferInC(ctx context.Context, path string, o Original) (bool, error) {
	x, err := exe.Open(path)
	if err != nil {
		return false, err
	}
	defer x.Close()
	external, err := gopart.IsExternallyLinked(x)
	if err != nil || !external {
		return false, err
	}
	theirs, err := o.Shapes(ctx)
	if err != nil {
		return false, err
	}
	ours, err := x.Shapes()
	return err == nil && bytes.Equal(ours, theirs), err
}

// difference is where a twin differs from the target.
type difference struct {
	resized string // see firstResized
	recipe  *recipe.Recipe
	section string
	ours    exe.Function // the twin's first Go function that differs
	theirs  exe.Function // the target's function in its place
	symbol  string       // the twin's symbol at the difference, if all Go functions match
}

// locate finds the first function that differs: by name and size, since a longer
// function moves all functions after it, or else by its code.
func (d *difference) locate(ctx context.Context, x *exe.File, o Original, got exe.Fingerprint) error {
	theirs, err := o.Shapes(ctx)
	if err != nil {
		return err
	}
	ours, err := x.Shapes()
	if err != nil {
		return err
	}
	if offset := firstDifference(ours, theirs, exe.BlockHash); offset >= 0 {
		i := uint64(offset / exe.BlockHash)
		if d.theirs, err = o.Function(ctx, i); err != nil {
			return err
		}
		d.ours, err = x.Function(i)
		return err
	}
	if d.section != ".text" {
		return nil
	}
	return d.locateCode(ctx, x, o, got)
}

// locateCode finds the first block of .text that differs and its symbol, given that
// all Go functions have the same names and sizes.
func (d *difference) locateCode(ctx context.Context, x *exe.File, o Original, got exe.Fingerprint) error {
	var text exe.Section
	for _, sec := range got.Sections {
		if sec.Name == ".text" {
			text = sec
		}
	}
	part := exe.Range{Section: ".text", Size: text.Size, Block: 64 << 10}
	for _, block := range []uint64{64 << 10, 64} {
		part.Block = block
		theirs, err := o.Blocks(ctx, part)
		if err != nil {
			return nil // .text has another size, which the section's name says
		}
		ours, err := x.Blocks(part)
		if err != nil {
			return err
		}
		offset := firstDifference(ours, theirs, exe.BlockHash)
		if offset < 0 {
			return nil
		}
		part.Offset += uint64(offset/exe.BlockHash) * block
		part.Size = min(block, text.Size-part.Offset)
	}
	d.symbol = x.SymbolAt(text.Addr + part.Offset)
	return nil
}

// firstDifference returns the offset of the first record of the given size in which
// a and b differ, -1 if they are equal.
func firstDifference(a, b []byte, size int) int {
	for at := 0; at < max(len(a), len(b)); at += size {
		if at+size > len(a) || at+size > len(b) || !bytes.Equal(a[at:at+size], b[at:at+size]) {
			return at
		}
	}
	return -1
}

func (d *difference) asError() error {
	text := "the twin is not the same program: " + d.section + " differs"
	name := d.symbol
	switch {
	case d.ours.Name != "" && d.theirs.Name == d.ours.Name:
		text += fmt.Sprintf(", first in %s (%d bytes of code instead of %d)", d.ours.Name, d.ours.Size, d.theirs.Size)
		name = d.ours.Name
	case d.ours.Name != "" || d.theirs.Name != "":
		text += fmt.Sprintf(", first where the target has %s and the twin has %s", orNothing(d.theirs.Name), orNothing(d.ours.Name))
		if name = d.ours.Name; name == "" {
			name = d.theirs.Name
		}
	case d.symbol != "" && d.resized != "":
		text = "the twin is not the same program: its functions match, but its data differs (" + d.resized + ")"
		name, d.section = "", ".rodata"
	case d.symbol != "":
		text += ", first in " + d.symbol
	}
	return diag.Errorf(diag.TwinDiffers, "%s; most likely cause: %s", text, d.likelyCause(name))
}

func orNothing(name string) string {
	if name == "" {
		return "nothing"
	}
	return name
}

// likelyCause returns what most likely differs between the two builds, judged by the
// name of the first function that differs.
func (d *difference) likelyCause(name string) string {
	module := d.recipe.Source.Module
	for _, generated := range []string{"type:.eq.", "type:.hash."} { // by the compiler, for a type
		name = strings.TrimPrefix(name, generated)
	}
	switch {
	case name == "" && (d.section == ".rodata" || d.section == ".go.buildinfo" || strings.Contains(d.section, "data")) && !d.recipe.LinkFlags:
		return "a value set by -ldflags -X, which is not recorded with -trimpath: give the flags with --ldflags"
	case name == "" && (d.section == ".go.buildinfo" || d.section == ".rodata"):
		return "a string in the source, or a version stamped into the program"
	case name == "":
		return "the linker, the C compiler, or embedded data"
	case !strings.Contains(name, "."):
		return "another C compiler, since all Go functions match"
	case d.recipe.Source.Tree && !isStandard(name):
		return "another source or other flags: the directory was used as it is"
	case isStandard(name):
		return "another toolchain, or a flag that is not recorded (the standard library differs)"
	case strings.HasPrefix(name, module) || strings.HasPrefix(name, "main."):
		return "another source of " + module
	}
	return "another version of a dependency"
}

// isStandard reports whether a symbol belongs to the standard library: the first
// element of its package's path has no dot.
func isStandard(name string) bool {
	first, rest, _ := strings.Cut(name, "/")
	if rest == "" {
		first, _, _ = strings.Cut(first, ".")
		return first != "main"
	}
	return !strings.Contains(first, ".") && !strings.HasPrefix(first, "main")
}
