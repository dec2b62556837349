package recipe

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// containerd is what a containerd from its Makefile says of itself.
func containerd() *target.Origin {
	return &target.Origin{
		Build: target.Build{
			GoVersion: "go1.26.8", MainPackage: "github.com/containerd/containerd/v2/cmd/containerd",
			ModulePath: "github.com/containerd/containerd/v2", ModuleVersion: "v2.0.0-20260101000000-14303e4a1b1f",
			MainFile: "/go/src/github.com/containerd/containerd/cmd/containerd/main.go", Stripped: true, Arch: "amd64", PIE: true,
			Settings: map[string]string{
				"-buildmode": "pie", "-compiler": "gc", "-gcflags": "-trimpath=/root/go/src",
				"-ldflags": "-X github.com/containerd/containerd/v2/version.Version=v2.4.2 -X github.com/containerd/containerd/v2/version.Package=github.com/containerd/containerd/v2 -s -w ",
				"-tags":    "urfave_cli_no_docs", "CGO_ENABLED": "1", "CGO_CFLAGS": "", "CGO_CPPFLAGS": "", "CGO_CXXFLAGS": "", "CGO_LDFLAGS": "",
				"GOARCH": "amd64", "GOOS": "linux", "GOAMD64": "v1", "vcs": "git",
				"vcs.revision": "14303e4a1b1f44eb85332d68c0493aebf33b0159", "vcs.time": "2026-01-01T00:00:00Z", "vcs.modified": "false",
			},
		},
		Deps:  []target.Module{{Path: "golang.org/x/sys", Version: "v0.50.0"}},
		Roots: target.Roots{Module: "/go/src/github.com/containerd/containerd", GOROOT: "/usr/local/go", Vendor: true},
	}
}

// kubelet is what a published module's program says, built with -trimpath.
func kubelet() *target.Origin {
	return &target.Origin{
		Build: target.Build{
			GoVersion: "go1.27.0", MainPackage: "k8s.io/kubernetes/cmd/kubelet", ModulePath: "k8s.io/kubernetes", ModuleVersion: "v1.37.2",
			Settings: map[string]string{"-buildmode": "exe", "-compiler": "gc", "-trimpath": "true", "CGO_ENABLED": "0", "GOARCH": "arm64", "GOOS": "linux", "GOARM64": "v8.0"},
			Stripped: true, Arch: "arm64", Trimpath: true,
		},
		MainSum: "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=",
		Deps: []target.Module{
			{Path: "golang.org/x/sys", Version: "v0.50.0", Sum: "h1:x="},
			{Path: "k8s.io/api", Version: "v0.0.0", Replace: &target.Module{Path: "k8s.io/api", Version: "v0.37.2", Sum: "h1:y="}},
		},
	}
}

func linux() Host { return Host{"linux", "amd64"} }

func TestNew(t *testing.T) {
	r, err := New(containerd(), linux())
	if err != nil {
		t.Fatal(err)
	}
	if r.Toolchain != "go1.26.8" || r.Source.Revision == "" || r.Source.Version != "" || r.Source.Tree || r.Source.Stamp != "v2.0.0-20260101000000-14303e4a1b1f" || !r.LinkFlags {
		t.Errorf("%+v", r)
	}
	want := []string{
		"-buildvcs=true", "-mod=vendor", "-buildmode=pie", "-gcflags=-trimpath=/root/go/src",
		"-ldflags=" + containerd().Settings["-ldflags"], "-tags=urfave_cli_no_docs",
	}
	if !slices.Equal(r.Flags, want) {
		t.Errorf("flags %q, want %q", r.Flags, want)
	}
	env := []string{"CGO_CFLAGS=", "CGO_CPPFLAGS=", "CGO_CXXFLAGS=", "CGO_ENABLED=1", "CGO_LDFLAGS=", "GOAMD64=v1", "GOARCH=amd64", "GOOS=linux"}
	if !slices.Equal(r.Env, env) {
		t.Errorf("environment %q, want %q", r.Env, env)
	}

	r, err = New(kubelet(), Host{"darwin", "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Source.Version != "v1.37.2" || r.Source.Revision != "" || len(r.Source.Deps) != 2 || r.LinkFlags {
		t.Errorf("%+v", r)
	}
	if want := []string{"-buildvcs=false", "-mod=mod", "-buildmode=exe", "-trimpath=true"}; !slices.Equal(r.Flags, want) {
		t.Errorf("flags %q, want %q", r.Flags, want)
	}
}

// TestNewFromATree is a build that names neither a version nor a revision.
func TestNewFromATree(t *testing.T) {
	o := containerd()
	o.ModuleVersion = "(devel)"
	maps.DeleteFunc(o.Settings, func(key, _ string) bool { return strings.HasPrefix(key, "vcs") })
	r, err := New(o, linux())
	if err != nil || !r.Source.Tree || r.Flags[0] != "-buildvcs=false" {
		t.Errorf("%+v, %v", r, err)
	}
	o = kubelet()
	o.MainSum, o.ModuleVersion, o.Deps = "", "(devel)", []target.Module{{Path: "a.b/c", Version: "v1.0.0"}}
	if r, err = New(o, linux()); err != nil || r.Flags[1] != "-mod=vendor" {
		t.Errorf("%+v, %v", r, err)
	}
	o.Deps[0].Sum = "h1:z="
	if r, err = New(o, linux()); err != nil || r.Flags[1] != "-mod=readonly" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRefused(t *testing.T) {
	set := func(key, value string) func(*target.Origin) {
		return func(o *target.Origin) { o.Settings[key] = value }
	}
	for _, test := range []struct {
		change func(*target.Origin)
		reason string
	}{
		{set("vcs.modified", "true"), "uncommitted changes"},
		{func(o *target.Origin) { o.ModuleVersion += "+dirty" }, "uncommitted changes"},
		{set("vcs", "hg"), "only git"},
		{set("vcs.revision", "--upload-pack=evil"), "no valid revision"},
		{func(o *target.Origin) { o.GoVersion = "go1.20.14" }, "before go1.21"},
		{func(o *target.Origin) { o.GoVersion = "go1.9" }, "before go1.21"},
		{func(o *target.Origin) { o.GoVersion = "devel go1.28-abcdef" }, "no release"},
		{func(o *target.Origin) { o.GoVersion = "go1.26.8+auto" }, "no release"},
		{func(o *target.Origin) { o.GoVersion = "go1.26.8-evil" }, "no release"},
		{func(o *target.Origin) { o.GoVersion = "go1.26.8 X:boringcrypto" }, "no release"},
		{func(o *target.Origin) { o.MainPackage = "command-line-arguments" }, "list of files"},
		{func(o *target.Origin) { o.ModulePath = "" }, "without modules"},
		{func(o *target.Origin) { o.MainPackage = "-toolexec=evil" }, "no valid main package"},
		{func(o *target.Origin) { o.ModulePath = "../evil" }, "no valid module"},
		{func(o *target.Origin) { o.MainPackage = "example.com/other" }, "not in its main module"},
		{func(o *target.Origin) { o.MainSum = "h1:x="; o.ModuleVersion = "v1;evil" }, "no valid module version"},
		{func(o *target.Origin) { o.MainSum = "h1:x="; o.ModuleVersion = "v2.4.2"; o.Deps[0].Version = "(devel)" }, "from a directory"},
		{func(o *target.Origin) {
			o.MainSum, o.ModuleVersion = "h1:x=", "v2.4.2"
			o.Deps[0].Replace = &target.Module{Path: "../sys"}
		}, "no published version"},
		{func(o *target.Origin) { o.Roots.Module = "/a;/etc=>/b" }, "under that name"},
		{func(o *target.Origin) { o.Roots.GOROOT = "/a' -toolexec=b '" }, "under that name"},
		{set("GOOS", "windows"), "GOOS"},
		{set("GOARCH", "arm64"), "but is a Linux program for amd64"},
		{set("-buildmode", "plugin"), "-buildmode"},
		{set("-toolexec", "evil"), "-toolexec"},
		{set("-overlay", "/evil.json"), "-overlay"},
		{set("-modfile", "/evil.mod"), "-modfile"},
		{set("-C", "/"), "not known here"},
		{set("CC", "/evil"), "not known here"},
		{set("GOFLAGS", "-toolexec=evil"), "not known here"},
		{set("GOROOT", "/evil"), "not known here"},
		{set("-pgo", "/home/you/.ssh/id_rsa"), "-pgo"},
		{set("-tags", "a -toolexec=evil"), "-tags"},
		{set("GOAMD64", "v1 GOFLAGS=x"), "GOAMD64"},
		{set("GOEXPERIMENT", "@x"), "GOEXPERIMENT"},
		{set("GOFIPS140", "../../evil"), "GOFIPS140"},
	} {
		o := containerd()
		test.change(o)
		r, err := New(o, linux())
		if !errors.Is(err, &diag.Error{Code: diag.TwinRefused}) || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("want %q: %v (%+v)", test.reason, err, r)
		}
	}
	for _, h := range []Host{{"darwin", "amd64"}, {"windows", "amd64"}, {"linux", "arm64"}} {
		if _, err := New(containerd(), h); err == nil || !strings.Contains(err.Error(), "C compiler") {
			t.Errorf("%v: %v", h, err)
		}
	}
}

// TestFlagValues holds what may and what must not be said to the tools: the
// latter runs a program on the host, reads a file of it, or writes one.
func TestFlagValues(t *testing.T) {
	good := map[string][]string{
		"-ldflags": {
			"", "-s -w", "--s --w", "-X main.a=b", "-X=main.a=b", `-X "main.a=b c"`, "-X 'main.a=-extld=x'", "-X main.a=",
			"-linkmode=external -extldflags '-static'", `-extldflags "-static -Wl,-z,relro,-z,now"`, "-buildid=", "-B gobuildid", "all=-w",
			"-X main.a=@x -s",
		},
		"-gcflags":    {"all=-N -l", "-trimpath=/root/go/src", "./...=-l", "-N -l -c 4"},
		"-asmflags":   {"all=-trimpath=/x"},
		"CGO_CFLAGS":  {"-g -O2", "-O2 -g -fstack-protector-strong -Wformat -Werror=format-security -D_FORTIFY_SOURCE=2", "-O2 -ffile-prefix-map=/build=.", "-march=x86-64-v2", ""},
		"CGO_LDFLAGS": {"-O2 -g", "-Wl,-z,relro -Wl,-z,now", "-lseccomp", "-Wl,--as-needed"},
	}
	bad := map[string][]string{
		"-ldflags": {
			"-extld=/evil", "-extld /evil", "--extld=/evil", "-extldflags -fplugin=/evil.so", "-extldflags '-static -B/evil'", "-extldflags=-wrapper,evil",
			"-extldflags '-static -Wl,@/evil'", "-extar=/evil", "-linkmode=external -extld=gcc", "-X @/evil", "-X", "-X -extld=/evil", "@/evil", "-s @/evil",
			"-o /home/you/.bashrc", "-cpuprofile=/x", "-importcfg=/x", "-r /x", "-L /x", "-buildid -extld=/evil", "-I /evil", "-tmpdir=/x", "-capturehostobjs /x",
			"-s=true -extld=/evil", "main.a=b", "'-s", "-X main.a=b\x00", "all=-extld=/evil", "-X\nmain.a=b -extld=/evil", "-plugin=/x", "-- -extld=x",
		},
		"-gcflags":  {"-toolexec=x", "-o=/x", "-cpuprofile=/x", "all=-memprofile /x", "-embedcfg=/x", "-importcfg /x", "-I /x", "@/x", "-N @/x", "-d=pgodebug=1", "-pgoprofile=/x", "-asmhdr=/x", "-trimpath @/x -o /y", "-linkobj x", "-D /x"},
		"-asmflags": {"-I /x", "-o /x", "-D 'A=\"; evil'", "@/x"},
		"CGO_CFLAGS": {
			"-fplugin=/evil.so", "-B/evil", "-specs=/evil", "-wrapper evil", "-I/evil", "-include /x", "@/evil", "-Wl,-dynamic-linker,x", "-Wp,@/x", "-Wa,x", "-Xlinker x",
			"-DA=`evil`", "-fplugin-arg-x-y", "-o /x", "-imacros /x", "-x c", "-iquote/x", "-idirafter/x", "--sysroot=/x", "-no-canonical-prefixes", "-fuse-ld=/evil",
			"-dumpdir", "-save-temps", "-fdump-tree-all", "-ftest-coverage", "-fprofile-use=/x", "-fprofile-generate", "-MF/x", "-O2\x00", "--param=x", "-fuse-ld=evil",
		},
		"CGO_LDFLAGS": {"-fuse-ld=evil", "-Wl,-plugin,/evil.so", "-Wl,--dynamic-linker=/x", "-L/x", "-T/x", "-l:/evil.a", "/evil.o", "-Wl,-z,relro,-plugin,/x", "-Wl,@/x", "-Wl,-rpath,/x", "-Wl,-O1,-plugin=x"},
	}
	for key, values := range good {
		for _, value := range values {
			if err := knownSettings()[key].check(value); err != nil {
				t.Errorf("%s=%q: %v", key, value, err)
			}
		}
	}
	for key, values := range bad {
		for _, value := range values {
			if knownSettings()[key].check(value) == nil {
				t.Errorf("%s=%q is allowed", key, value)
			}
		}
	}
}

// FuzzSettings sees that what is allowed holds none of the known bad words,
// however it is written, and nothing that a tool would read as one.
func FuzzSettings(f *testing.F) {
	for _, value := range []string{"-s -w", "-X 'main.a=b c'", "-extldflags \"-static\"", "all=-N -l", "-extld=/evil", "-fplugin=/evil.so", "@/evil", "-g -O2"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, key := range []string{"-ldflags", "-gcflags", "-asmflags", "CGO_CFLAGS", "CGO_LDFLAGS", "-tags", "GOEXPERIMENT", "GOFIPS140", "-pgo"} {
			o := containerd()
			o.Settings[key] = value
			r, err := New(o, linux())
			if err != nil {
				continue
			}
			if strings.ContainsAny(value, "\x00") {
				t.Errorf("%s=%q", key, value)
			}
			_, rest, perPackage := strings.Cut(strings.TrimLeft(value, " "), "=")
			if !perPackage || strings.HasPrefix(strings.TrimLeft(value, " "), "-") {
				rest = value
			}
			words, err := splitQuoted(rest)
			if err != nil {
				t.Errorf("%s=%q: %v", key, value, err)
			}
			for _, w := range words {
				if bad := dangerous(w); bad != "" {
					t.Errorf("%s=%q allows %s (%q)", key, value, bad, r.Flags)
				}
			}
		}
	})
}

// dangerous returns what is bad about a word by itself.
func dangerous(word string) string {
	if strings.HasPrefix(word, "@") {
		return "a response file"
	}
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if !strings.HasPrefix(word, "-") {
		return ""
	}
	switch name {
	case "toolexec", "extld", "extar", "o", "importcfg", "fplugin", "specs", "wrapper", "include", "overlay", "modfile", "C", "cpuprofile", "memprofile", "fuse-ld", "tmpdir", "I":
		return name
	}
	return ""
}
