package recipe_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/recipe"
	"github.com/dapbridge/dapbridge/internal/target"
)

func newOrigin(settings map[string]string) *target.Origin {
	return &target.Origin{Build: target.Build{
		GoVersion: "go1.26.8", MainPackage: "example.com/d/cmd/d", ModulePath: "example.com/d", Arch: "amd64", Settings: settings,
	}}
}

// TestDebug takes over what a debug build needs of how the target was built, and
// nothing else that the target says.
func TestDebug(t *testing.T) {
	for _, tt := range []struct {
		settings map[string]string
		ldflags  string
		want     []string
	}{
		{nil, "", []string{"-gcflags=all=-N -l", "-ldflags=-compressdwarf=false"}},
		{
			map[string]string{"-ldflags": `-X example.com/d/v.V=v1 -X 'example.com/d/v.T=a b' -s -w -extldflags "-static"`, "-tags": "a,b", "CGO_ENABLED": "1", "-buildmode": "pie"}, "",
			[]string{"-gcflags=all=-N -l", `-ldflags=-compressdwarf=false -X example.com/d/v.V=v1 -X 'example.com/d/v.T=a b'`, "-tags=a,b"},
		},
		{map[string]string{"-ldflags": "-X=main.v=1"}, "-X main.v=2", []string{"-gcflags=all=-N -l", "-ldflags=-compressdwarf=false -X=main.v=1 -X main.v=2"}},
		{map[string]string{"-ldflags": "-extld=/tmp/evil -X main.v=1 -X nonsense"}, "", []string{"-gcflags=all=-N -l", "-ldflags=-compressdwarf=false -X main.v=1"}},
		{map[string]string{"-ldflags": `-X main.v='x`, "-toolexec": "/tmp/evil"}, "", []string{"-gcflags=all=-N -l", `-ldflags=-compressdwarf=false -X "main.v='x"`}},
	} {
		d, err := recipe.NewDebug(newOrigin(tt.settings), tt.ldflags)
		if err != nil || !slices.Equal(d.Flags, tt.want) || !slices.Contains(d.Env, "CGO_ENABLED=0") || !slices.Contains(d.Env, "GOARCH=amd64") {
			t.Errorf("%v: %+v, %v\nwant %q", tt.settings, d, err, tt.want)
		}
	}
}

func TestDebugRefused(t *testing.T) {
	for says, change := range map[string]func(*target.Origin){
		"list of files":         func(o *target.Origin) { o.MainPackage = "command-line-arguments" },
		"GOPATH":                func(o *target.Origin) { o.ModulePath = "" },
		"no valid main package": func(o *target.Origin) { o.MainPackage = "-toolexec=evil" },
		"program for riscv64":   func(o *target.Origin) { o.Arch = "riscv64" },
		`-tags="a -x"`:          func(o *target.Origin) { o.Settings = map[string]string{"-tags": "a -x"} },
	} {
		o := newOrigin(nil)
		change(o)
		d, err := recipe.NewDebug(o, "")
		if diag.CodeOf(err) != diag.DeployRefused || !strings.Contains(err.Error(), says) || !strings.Contains(diag.Hint(err), "--build") {
			t.Errorf("%s: %+v, %v", says, d, err)
		}
	}
}

// FuzzDebugVariables holds what of a linker's flags is taken over against the
// list of the harmless ones.
func FuzzDebugVariables(f *testing.F) {
	f.Add(`-X a.b=c -s "-X" d.e='f'`)
	f.Add(`-X -extld=x a.b=c`)
	f.Fuzz(func(t *testing.T, ldflags string) {
		d, err := recipe.NewDebug(newOrigin(map[string]string{"-ldflags": ldflags}), "")
		if err != nil {
			t.Fatal(err)
		}
		value, _ := strings.CutPrefix(d.Flags[1], "-ldflags=")
		if err := recipe.CheckLinkFlags(value); err != nil {
			t.Errorf("%q became %q: %v", ldflags, value, err)
		}
	})
}
