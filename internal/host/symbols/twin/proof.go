package twin

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// prove returns nil if the file at path is the same program as the suspect,
// whose fingerprint is want: the same sections are loaded at the same addresses
// with the same content. Otherwise its error says where they first differ, and
// what most likely differs in their making.
func prove(ctx context.Context, want exe.Fingerprint, path string, s Original, r *recipe.Recipe) error {
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
	if err := d.locate(ctx, x, s, *got); err != nil {
		return err
	}
	return d.error()
}

// differing names the first section that differs, "" if none does. Code comes
// before what follows from it.
func firstDifferentSection(want, got exe.Fingerprint) string {
	if want.Arch != got.Arch || want.Type != got.Type {
		return fmt.Sprintf("kind of executable (%s %v, not %s %v)", got.Arch, got.Type, want.Arch, want.Type)
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
		if _, more := have[s.Name]; more && first == "" {
			first = s.Name
		}
	}
	if first == "" && want.Entry != got.Entry {
		return "entry point"
	}
	return first
}

// moved names the first section besides the code that has another size, "" if
// none has: what follows lies elsewhere, and all code that names it differs.
func firstResized(want, got exe.Fingerprint) string {
	sizes := map[string]uint64{}
	for _, s := range got.Sections {
		sizes[s.Name] = s.Size
	}
	for _, s := range want.Sections {
		if size, ok := sizes[s.Name]; ok && s.Name != ".text" && size != s.Size {
			return fmt.Sprintf("%s has %d bytes in place of %d", s.Name, size, s.Size)
		}
	}
	return ""
}

// difference is where a twin differs from the target.
type difference struct {
	resized string // what has another size, besides code
	recipe  *recipe.Recipe
	section string
	ours    exe.Function // the twin's first differing function, if it is Go's
	theirs  exe.Function // what the target has in its place
	symbol  string       // the twin's symbol, if it is not Go's
}

// locate finds the first function that differs: by name and size, since a
// function that is longer moves all that follow, and else by its code.
func (d *difference) locate(ctx context.Context, x *exe.File, s Original, got exe.Fingerprint) error {
	theirs, err := s.Shapes(ctx)
	if err != nil {
		return err
	}
	ours, err := x.Shapes()
	if err != nil {
		return err
	}
	if at := firstDifference(ours, theirs, exe.BlockHash); at >= 0 {
		i := uint64(at / exe.BlockHash)
		if d.theirs, err = s.Function(ctx, i); err != nil {
			return err
		}
		d.ours, err = x.Function(i)
		return err
	}
	if d.section != ".text" {
		return nil
	}
	return d.locateCode(ctx, x, s, got)
}

// locateCode finds the first byte of .text that differs, and whose it is. All
// functions of Go's have the same names and sizes.
func (d *difference) locateCode(ctx context.Context, x *exe.File, s Original, got exe.Fingerprint) error {
	var text exe.Section
	for _, sec := range got.Sections {
		if sec.Name == ".text" {
			text = sec
		}
	}
	part := exe.Range{Section: ".text", Size: text.Size, Block: 64 << 10}
	for _, block := range []uint64{64 << 10, 64} {
		part.Block = block
		theirs, err := s.Blocks(ctx, part)
		if err != nil {
			return nil // of another size: the section says it
		}
		ours, err := x.Blocks(part)
		if err != nil {
			return err
		}
		at := firstDifference(ours, theirs, exe.BlockHash)
		if at < 0 {
			return nil
		}
		part.Offset += uint64(at/exe.BlockHash) * block
		part.Size = min(block, text.Size-part.Offset)
	}
	d.symbol = x.SymbolAt(text.Addr + part.Offset)
	return nil
}

// firstDifference returns where two lists of records of some size first
// differ, -1 if they don't.
func firstDifference(a, b []byte, size int) int {
	for at := 0; at < max(len(a), len(b)); at += size {
		if at+size > len(a) || at+size > len(b) || !bytes.Equal(a[at:at+size], b[at:at+size]) {
			return at
		}
	}
	return -1
}

func (d *difference) error() error {
	text := "what was built is another program: " + d.section + " differs"
	name := d.symbol
	switch {
	case d.ours.Name != "" && d.theirs.Name == d.ours.Name:
		text += fmt.Sprintf(", first in %s (%d bytes of code in place of %d)", d.ours.Name, d.ours.Size, d.theirs.Size)
		name = d.ours.Name
	case d.ours.Name != "" || d.theirs.Name != "":
		text += fmt.Sprintf(", first where the target has %s and this has %s", orNothing(d.theirs.Name), orNothing(d.ours.Name))
		if name = d.ours.Name; name == "" {
			name = d.theirs.Name
		}
	case d.symbol != "" && d.resized != "":
		text = "what was built is another program: its functions are the same, its data is not (" + d.resized + ")"
		name, d.section = "", ".rodata"
	case d.symbol != "":
		text += ", first in " + d.symbol
	}
	return diag.Errorf(diag.TwinDiffers, "%s; most likely %s", text, d.likelyCause(name))
}

func orNothing(name string) string {
	if name == "" {
		return "nothing"
	}
	return name
}

// likely says what most likely differs in the making of the two programs, by
// the first function that does.
func (d *difference) likelyCause(name string) string {
	module := d.recipe.Source.Module
	for _, made := range []string{"type:.eq.", "type:.hash."} { // by the compiler, for a type
		name = strings.TrimPrefix(name, made)
	}
	switch {
	case name == "" && (d.section == ".rodata" || d.section == ".go.buildinfo" || strings.Contains(d.section, "data")) && !d.recipe.LinkFlags:
		return "a value that was set by -ldflags -X, which -trimpath leaves out of what is recorded: give the flags with --ldflags"
	case name == "" && (d.section == ".go.buildinfo" || d.section == ".rodata"):
		return "a string in its source, or the versions that are stamped into the program"
	case name == "":
		return "the linker, the C compiler, or data that is built in"
	case !strings.Contains(name, "."):
		return "another C compiler: only functions of C differ so far"
	case d.recipe.Source.Tree && !isStandard(name):
		return "another source, or other flags: the target names no commit, so the directory was taken as it is"
	case isStandard(name):
		return "another toolchain, or a flag that is not recorded (the standard library differs already)"
	case strings.HasPrefix(name, module) || strings.HasPrefix(name, "main."):
		return "another source of " + module
	}
	return "another version of a dependency"
}

// standard reports whether a function is of the standard library: its package's
// first element has no dot.
func isStandard(name string) bool {
	first, rest, _ := strings.Cut(name, "/")
	if rest == "" {
		first, _, _ = strings.Cut(first, ".")
		return first != "main"
	}
	return !strings.Contains(first, ".") && !strings.HasPrefix(first, "main")
}
