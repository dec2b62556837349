package exe

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestOrigin(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want Roots
	}{
		{nil, Roots{Module: root, GOROOT: strings.TrimSpace(string(goroot))}},
		{[]string{"-trimpath", "-ldflags=-s -w"}, Roots{}},
	} {
		o, err := open(t, exetest.Build(t, "sleeper", append(test.args, "GOARCH=amd64")...)).Origin()
		if err != nil {
			t.Fatal(err)
		}
		if o.Roots != test.want {
			t.Errorf("%v: roots %+v, want %+v", test.args, o.Roots, test.want)
		}
		testenv.Equal(t, "MainPackage", o.MainPackage, exetest.SleeperPackage)
		testenv.Equal(t, "MainSum", o.MainSum, "")
		testenv.Equal(t, "number of Deps", len(o.Deps), 0)
	}
}

func TestAddFile(t *testing.T) {
	modules := map[string]bool{"github.com/!burnt!sushi/toml@v1.2.0": true, "golang.org/x/sys@v0.1.0": true}
	for _, test := range []struct {
		file string
		want Roots
	}{
		{"/root/go/pkg/mod/golang.org/x/sys@v0.1.0/unix/asm.s", Roots{Module: "/src/m", ModCache: "/root/go/pkg/mod"}},
		{"/mod/github.com/!burnt!sushi/toml@v1.2.0/decode.go", Roots{Module: "/src/m", ModCache: "/mod"}},
		{"/mod/golang.org/x/sys@v0.2.0/unix/asm.s", Roots{Module: "/src/m"}},
		{"golang.org/x/sys@v0.1.0/unix/asm.s", Roots{Module: "/src/m"}},
		{"/golang.org/x/sys@v0.1.0", Roots{Module: "/src/m"}}, // the file system's root
		{"/src/m/vendor/golang.org/x/sys/unix/asm.s", Roots{Module: "/src/m", Vendor: true}},
		{"/src/mm/vendor/x.go", Roots{Module: "/src/m"}},
		{"", Roots{Module: "/src/m"}},
	} {
		r := Roots{Module: "/src/m"}
		if r.addFile(test.file, modules); r != test.want {
			t.Errorf("%s: %+v, want %+v", test.file, r, test.want)
		}
	}
}

func TestFindModuleRoot(t *testing.T) {
	for _, test := range []struct{ file, pkg, module, want string }{
		{"/src/m/cmd/x/main.go", "example.com/m/cmd/x", "example.com/m", "/src/m"},
		{"/src/m/main.go", "example.com/m", "example.com/m", "/src/m"},
		{"/src/m/cmd/y/main.go", "example.com/m/cmd/x", "example.com/m", ""},
		{"example.com/m/main.go", "example.com/m", "example.com/m", ""},
		{"/src/m/main.go", "example.com/mm", "example.com/m", ""},
		{"/src/../m/main.go", "example.com/m", "example.com/m", ""},
		{"/src/main.go", "command-line-arguments", "", ""},
	} {
		if got := findModuleRoot(test.file, test.pkg, test.module); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// TestFingerprint checks that -s -w changes nothing that is loaded, and that the
// architecture level does.
func TestFingerprint(t *testing.T) {
	// With -trimpath the flags are not recorded, and so make no difference.
	plain := open(t, exetest.Build(t, "sleeper", "-trimpath", "GOARCH=amd64"))
	stripped := open(t, exetest.Build(t, "sleeper", "-trimpath", "-ldflags=-s -w", "GOARCH=amd64"))
	other := open(t, exetest.Build(t, "sleeper", "-trimpath", "GOARCH=amd64", "GOAMD64=v3"))
	text := map[*File]string{}
	for _, x := range []*File{plain, stripped, other} {
		p, err := x.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Sections {
			switch s.Name {
			case ".text":
				text[x] = s.Hash
			case ".note.go.buildid":
				t.Error("the build ID is part of the fingerprint")
			case ".bss":
				if s.Hash != "" {
					t.Errorf("%+v has a hash", s)
				}
			}
		}
	}
	testenv.Equal(t, "hash of the stripped program's text", text[stripped], text[plain])
	if text[plain] == text[other] {
		t.Errorf("the texts of both architecture levels have the hash %q", text[plain])
	}
	first := firstDifference(t, plain, other)
	a, err := plain.Function(uint64(first))
	if err != nil || a.Name == "" || a.Size == 0 || !strings.HasSuffix(a.File, ".go") && !strings.HasSuffix(a.File, ".s") {
		t.Errorf("function %d: %+v, %v", first, a, err)
	}
}

// firstDifference returns the first function whose shape differs.
func firstDifference(t *testing.T, a, b *File) int {
	t.Helper()
	as, err := a.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	bs, err := b.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+BlockHash <= min(len(as), len(bs)); i += BlockHash {
		if !bytes.Equal(as[i:i+BlockHash], bs[i:i+BlockHash]) {
			return i / BlockHash
		}
	}
	t.Fatal("no function differs")
	return 0
}

func TestBlocks(t *testing.T) {
	x := open(t, exetest.Build(t, "sleeper", "GOARCH=amd64"))
	whole, err := x.Blocks(Range{".text", 0, 4096, 1024})
	if err != nil || len(whole) != 4*BlockHash {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	last, err := x.Blocks(Range{".text", 3072, 1024, 1024})
	if err != nil || !slices.Equal(last, whole[3*BlockHash:]) {
		t.Errorf("%x is not the end of %x (%v)", last, whole, err)
	}
	for _, r := range []Range{{".text", 0, 4096, 0}, {".none", 0, 1, 1}, {".text", 1 << 40, 1, 1}, {".text", 0, 1 << 40, 1 << 39}, {".text", 1, 1<<64 - 1, 1}} {
		if _, err := x.Blocks(r); err == nil {
			t.Errorf("%+v was read", r)
		}
	}
}

func TestContent(t *testing.T) {
	x := open(t, exetest.Build(t, "sleeper", "GOARCH=amd64"))
	text, err := x.Content(Range{Section: ".text", Offset: 16, Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	_, code, err := x.Code()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, code[16:16+4096]) {
		t.Error("the content is not what the file has")
	}
	size := uint64(len(code))
	for _, r := range []Range{
		{Section: ".none", Size: 1}, {Section: ".bss", Size: 1}, {Section: ".text", Size: ContentLimit + 1},
		{Section: ".text", Offset: size, Size: 1}, {Section: ".text", Offset: 1 << 63, Size: 1 << 63}, {Section: ".text", Offset: 1, Size: 1<<64 - 1},
	} {
		if _, err := x.Content(r); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
}
