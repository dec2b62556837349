package twin

import (
	"slices"
	"testing"
)

// TestLinkerArguments checks how the linker is told to keep its relocations, whatever the
// recorded linker flags are.
func TestLinkerArguments(t *testing.T) {
	const keep = "-Wl,--emit-relocs"
	for _, tt := range []struct{ args, want []string }{
		{[]string{"-o", "x", "-s", "-w", "main.a"}, []string{"-extldflags=" + keep, "-o", "x", "main.a"}},
		{[]string{"-extldflags=-static", "main.a"}, []string{"-extldflags=-static " + keep, "main.a"}},
		{[]string{"--extldflags", "-static -Wl,-z,now", "main.a"}, []string{"-extldflags=-static -Wl,-z,now " + keep, "main.a"}},
		{[]string{"-extldflags=-a", "-extldflags=-b", "main.a"}, []string{"-extldflags=-b " + keep, "main.a"}},
		{[]string{"-compressdwarf=true", "-X", "m.s=-extldflags", "main.a"}, []string{"-extldflags=" + keep, "-X", "m.s=-extldflags", "main.a"}},
	} {
		c := Changes{Relocations: true}
		got := c.toolArgs("link", tt.args)
		if want := append([]string{"-compressdwarf=false"}, tt.want...); !slices.Equal(got, want) {
			t.Errorf("%q become %q, want %q", tt.args, got, want)
		}
	}
}
