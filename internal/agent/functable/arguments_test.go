//go:build linux

package functable

import (
	"bytes"
	"debug/dwarf"
	"slices"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestFrameSetup(t *testing.T) {
	const push = 0x55
	mov := []byte{0x48, 0x89, 0xe5, 0x90}
	for name, tt := range map[string]struct {
		before, after []byte
		want          bool
	}{
		"the compiler's": {[]byte{0x0f, push}, mov, true},
		"no push":        {[]byte{0x0f, 0x90}, mov, false},
		"another move":   {[]byte{push}, []byte{0x48, 0x89, 0xec}, false},
		"nothing before": {nil, mov, false},
		"nothing after":  {[]byte{push}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Equal(t, "is a frame's setup", isFrameSetup(tt.before, tt.after), tt.want)
		})
	}
}

// TestStoreLR checks the instruction of arm64 by its encoding.
func TestStoreLR(t *testing.T) {
	for name, tt := range map[string]struct {
		code []byte
		want bool
	}{
		"str x30, [sp, #-64]!":  {[]byte{0xfe, 0x0f, 0x1c, 0xf8}, true},
		"str x30, [sp, #-256]!": {[]byte{0xfe, 0x0f, 0x10, 0xf8}, true},
		"str x29, [sp, #-64]!":  {[]byte{0xfd, 0x0f, 0x1c, 0xf8}, false},
		"ldr x30, [sp], #64":    {[]byte{0xfe, 0x07, 0x44, 0xf8}, false},
		"nothing":               {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Equal(t, "stores the link register", isStoreLR(tt.code), tt.want)
		})
	}
}

// TestArguments checks that the words of arguments are visible from the entry of a function
// to the end of its prologue, which is where the debugger stops, and no longer.
func TestArguments(t *testing.T) {
	file, _, err := openOwn(t).debugInfo("go1.26")
	if err != nil {
		t.Fatal(err)
	}
	d, err := openELF(t, bytes.NewReader(file)).DWARF()
	if err != nil {
		t.Fatal(err)
	}
	block, names := findArguments(t, d, "testing.tRunner")
	if len(block) != 1 || block[0][1]-block[0][0] > 64 {
		t.Errorf("visible in %#x", block)
	}
	want, _ := argumentRegisters(openOwn(t).machine)
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if block, names := findArguments(t, d, "runtime.memmove"); block != nil {
		t.Errorf("a function in assembly has %q in %#x", names, block)
	}
}

// findArguments returns the parameters of a function, and where they are visible.
func findArguments(t *testing.T, d *dwarf.Data, function string) (block [][2]uint64, names []string) {
	t.Helper()
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil || e == nil {
			t.Fatalf("no function %s: %v", function, err)
		}
		if e.Tag != dwarf.TagSubprogram || e.Val(dwarf.AttrLowpc) == nil || nameOf(t, d, e) != function {
			continue
		}
		for {
			e, err := r.Next()
			switch {
			case err != nil:
				t.Fatal(err)
			case e.Tag == 0 || e.Tag == dwarf.TagInlinedSubroutine:
				return block, names
			case e.Tag == dwarf.TagLexDwarfBlock:
				if block, err = d.Ranges(e); err != nil {
					t.Fatal(err)
				}
			case e.Tag == dwarf.TagFormalParameter:
				names = append(names, e.Val(dwarf.AttrName).(string))
			}
		}
	}
}
