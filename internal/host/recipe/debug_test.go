package recipe_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

func newOrigin(settings map[string]string) *exe.Origin {
	return &exe.Origin{Build: exe.Build{
		GoVersion: "go1.26.8", MainPackage: "example.com/d/cmd/d", ModulePath: "example.com/d", Arch: "amd64", Settings: settings,
	}}
}

// TestDebug checks that a debug build keeps the recorded settings that it needs, and
// nothing else.
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
		if err != nil {
			t.Errorf("%v: %v", tt.settings, err)
			continue
		}
		if !slices.Equal(d.Flags, tt.want) {
			t.Errorf("%v: flags %q, want %q", tt.settings, d.Flags, tt.want)
		}
		if want := []string{"GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0"}; !slices.Equal(d.Env, want) {
			t.Errorf("%v: environment %q, want %q", tt.settings, d.Env, want)
		}
	}
}

func TestDebugRefused(t *testing.T) {
	for want, change := range map[string]func(*exe.Origin){
		"list of files":        func(o *exe.Origin) { o.MainPackage = "command-line-arguments" },
		"GOPATH":               func(o *exe.Origin) { o.ModulePath = "" },
		"invalid main package": func(o *exe.Origin) { o.MainPackage = "-toolexec=evil" },
		"built for riscv64":    func(o *exe.Origin) { o.Arch = "riscv64" },
		`-tags="a -x"`:         func(o *exe.Origin) { o.Settings = map[string]string{"-tags": "a -x"} },
	} {
		o := newOrigin(nil)
		change(o)
		d, err := recipe.NewDebug(o, "")
		if diag.CodeOf(err) != diag.DeployRefused {
			t.Errorf("want %q: %+v, %v, want a %s error", want, d, err, diag.DeployRefused)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
		if hint := diag.Hint(err); !strings.Contains(hint, "--build") {
			t.Errorf("hint %q, want --build", hint)
		}
	}
}

// FuzzDebugVariables checks that the linker flags of a debug build are on the list
// of harmless ones.
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
