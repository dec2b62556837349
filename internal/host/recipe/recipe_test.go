package recipe

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// containerd returns what a containerd built by its Makefile records.
func containerd() *exe.Origin {
	return &exe.Origin{
		Build: exe.Build{
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
		Deps:  []exe.Module{{Path: "golang.org/x/sys", Version: "v0.50.0"}},
		Roots: exe.Roots{Module: "/go/src/github.com/containerd/containerd", GOROOT: "/usr/local/go", Vendor: true},
	}
}

// kubelet returns what the program of a published module records if it was built
// with -trimpath.
func kubelet() *exe.Origin {
	return &exe.Origin{
		Build: exe.Build{
			GoVersion: "go1.27.0", MainPackage: "k8s.io/kubernetes/cmd/kubelet", ModulePath: "k8s.io/kubernetes", ModuleVersion: "v1.37.2",
			Settings: map[string]string{"-buildmode": "exe", "-compiler": "gc", "-trimpath": "true", "CGO_ENABLED": "0", "GOARCH": "arm64", "GOOS": "linux", "GOARM64": "v8.0"},
			Stripped: true, Arch: "arm64", Trimpath: true,
		},
		MainSum: "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=",
		Deps: []exe.Module{
			{Path: "golang.org/x/sys", Version: "v0.50.0", Sum: "h1:x="},
			{Path: "k8s.io/api", Version: "v0.0.0", Replace: &exe.Module{Path: "k8s.io/api", Version: "v0.37.2", Sum: "h1:y="}},
		},
	}
}

func linux() Host { return Host{OS: "linux", Arch: "amd64"} }

func TestNew(t *testing.T) {
	r, err := New(containerd(), linux())
	if err != nil {
		t.Fatal(err)
	}
	if want := "go1.26.8"; r.Toolchain != want {
		t.Errorf("toolchain %s, want %s", r.Toolchain, want)
	}
	if !r.LinkFlags {
		t.Error("LinkFlags is false, although they are recorded")
	}
	wantSource := Source{
		Module:   "github.com/containerd/containerd/v2",
		Revision: "14303e4a1b1f44eb85332d68c0493aebf33b0159", Stamp: "v2.0.0-20260101000000-14303e4a1b1f",
	}
	if !reflect.DeepEqual(r.Source, wantSource) {
		t.Errorf("source %+v, want %+v", r.Source, wantSource)
	}
	want := []string{
		"-buildvcs=true", "-mod=vendor", "-buildmode=pie", "-gcflags=-trimpath=/root/go/src",
		"-ldflags=" + containerd().Settings["-ldflags"], "-tags=urfave_cli_no_docs",
	}
	if got := r.BuildFlags(); !slices.Equal(got, want) {
		t.Errorf("flags %q, want %q", got, want)
	}
	env := []string{"CGO_CFLAGS=", "CGO_CPPFLAGS=", "CGO_CXXFLAGS=", "CGO_ENABLED=1", "CGO_LDFLAGS=", "GOAMD64=v1", "GOARCH=amd64", "GOOS=linux"}
	if !slices.Equal(r.Env, env) {
		t.Errorf("environment %q, want %q", r.Env, env)
	}

}

func TestNewPublishedModule(t *testing.T) {
	r, err := New(kubelet(), Host{OS: "darwin", Arch: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	wantSource := Source{Module: "k8s.io/kubernetes", Version: "v1.37.2", Deps: kubelet().Deps}
	if !reflect.DeepEqual(r.Source, wantSource) {
		t.Errorf("source %+v, want %+v", r.Source, wantSource)
	}
	if r.LinkFlags {
		t.Error("LinkFlags is true, although -trimpath leaves them out")
	}
	if got, want := r.BuildFlags(), []string{"-buildvcs=false", "-mod=mod", "-buildmode=exe", "-trimpath=true"}; !slices.Equal(got, want) {
		t.Errorf("flags %q, want %q", got, want)
	}
}

// TestNewFromTree covers builds that record neither a version nor a revision.
func TestNewFromTree(t *testing.T) {
	o := containerd()
	o.ModuleVersion = "(devel)"
	maps.DeleteFunc(o.Settings, func(key, _ string) bool { return strings.HasPrefix(key, "vcs") })
	checkTreeFlags(t, o, "-buildvcs=false", "-mod=vendor")
	o = kubelet()
	o.MainSum, o.ModuleVersion, o.Deps = "", "(devel)", []exe.Module{{Path: "a.b/c", Version: "v1.0.0"}}
	checkTreeFlags(t, o, "-buildvcs=false", "-mod=vendor")
	o.Deps[0].Sum = "h1:z="
	checkTreeFlags(t, o, "-buildvcs=false", "-mod=readonly")
}

// checkTreeFlags checks that the source is the user's directory, and the first of
// the flags.
func checkTreeFlags(t *testing.T, o *exe.Origin, want ...string) {
	t.Helper()
	r, err := New(o, linux())
	if err != nil {
		t.Error(err)
		return
	}
	if !r.Source.Tree {
		t.Errorf("source %+v, want a tree", r.Source)
	}
	if got := r.BuildFlags()[:len(want)]; !slices.Equal(got, want) {
		t.Errorf("flags begin with %q, want %q", got, want)
	}
}

// TestSources covers targets whose source may come from several places.
func TestSources(t *testing.T) {
	const module, revision, version = "github.com/containerd/containerd/v2", "14303e4a1b1f44eb85332d68c0493aebf33b0159", "v2.0.0-20260101000000-14303e4a1b1f"
	tree := Source{Module: module, Tree: true}
	clone := Source{Module: module, Version: version, Clone: true}
	commit := Source{Module: module, Revision: revision, Stamp: version}
	for name, test := range map[string]struct {
		change func(*exe.Origin)
		want   []Source
	}{
		"a clone":         {func(*exe.Origin) {}, []Source{commit, clone, tree}},
		"an older Go":     {func(o *exe.Origin) { o.ModuleVersion = "(devel)" }, []Source{{Module: module, Revision: revision}, tree}},
		"a workspace":     {func(o *exe.Origin) { o.Deps[0].Version = "(devel)" }, []Source{commit, tree}},
		"a replacement":   {func(o *exe.Origin) { o.Deps[0].Replace = &exe.Module{Path: "./sys"} }, []Source{commit, tree}},
		"no such version": {func(o *exe.Origin) { o.ModuleVersion = "v1.0.0" }, []Source{{Module: module, Revision: revision, Stamp: "v1.0.0"}, tree}},
	} {
		o := containerd()
		test.change(o)
		r, err := New(o, linux())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := r.Sources(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: sources %+v, want %+v", name, got, test.want)
		}
	}
	o := kubelet()
	r, err := New(o, linux())
	if err != nil {
		t.Fatal(err)
	}
	if want := []Source{{Module: "k8s.io/kubernetes", Tree: true}}; !reflect.DeepEqual(r.Others, want) {
		t.Errorf("the other sources of a published version are %+v, want %+v", r.Others, want)
	}
}

// TestWithSource checks what depends on the source: flags, and what is written into the
// twin.
func TestWithSource(t *testing.T) {
	r, err := New(containerd(), linux())
	if err != nil {
		t.Fatal(err)
	}
	recorded := Recorded{Version: r.Source.Stamp, Settings: []string{
		"vcs=git", "vcs.revision=" + r.Source.Revision, "vcs.time=2026-01-01T00:00:00Z", "vcs.modified=false",
	}}
	for i, want := range []struct {
		flags []string
		stamp Recorded
	}{{[]string{"-buildvcs=true", "-mod=vendor"}, Recorded{}}, {[]string{"-buildvcs=false", "-mod=vendor"}, recorded}, {[]string{"-buildvcs=false", "-mod=vendor"}, recorded}} {
		with := r.WithSource(r.Sources()[i])
		if got := with.BuildFlags()[:2]; !slices.Equal(got, want.flags) {
			t.Errorf("%s: flags begin with %q, want %q", with.Source, got, want.flags)
		}
		if got := with.Stamp(); !reflect.DeepEqual(got, want.stamp) {
			t.Errorf("%s: the stamp is %+v, want %+v", with.Source, got, want.stamp)
		}
	}
	if r, err = New(kubelet(), linux()); err != nil {
		t.Fatal(err)
	}
	tree := r.WithSource(r.Others[0])
	want := []string{"--version=v1.37.2", "--sum=" + kubelet().MainSum}
	if got := tree.Stamp().Flags(); !slices.Equal(got, want) {
		t.Errorf("the stamp of a published version is %q, want %q", got, want)
	}
}

func TestRefused(t *testing.T) {
	set := func(key, value string) func(*exe.Origin) {
		return func(o *exe.Origin) { o.Settings[key] = value }
	}
	for _, test := range []struct {
		change func(*exe.Origin)
		reason string
	}{
		{set("vcs.modified", "true"), "uncommitted changes"},
		{func(o *exe.Origin) { o.ModuleVersion += "+dirty" }, "uncommitted changes"},
		{set("vcs", "hg"), "only git"},
		{set("vcs.revision", "--upload-pack=evil"), "invalid revision"},
		{func(o *exe.Origin) { o.GoVersion = "go1.20.14" }, "before go1.21"},
		{func(o *exe.Origin) { o.GoVersion = "go1.9" }, "before go1.21"},
		{func(o *exe.Origin) { o.GoVersion = "devel go1.28-abcdef" }, "not a Go release"},
		{func(o *exe.Origin) { o.GoVersion = "go1.26.8+auto" }, "not a Go release"},
		{func(o *exe.Origin) { o.GoVersion = "go1.26.8-evil" }, "not a Go release"},
		{func(o *exe.Origin) { o.GoVersion = "go1.26.8 X:boringcrypto" }, "not a Go release"},
		{func(o *exe.Origin) { o.MainPackage = "command-line-arguments" }, "list of files"},
		{func(o *exe.Origin) { o.ModulePath = "" }, "without modules"},
		{func(o *exe.Origin) { o.MainPackage = "-toolexec=evil" }, "invalid main package"},
		{func(o *exe.Origin) { o.ModulePath = "../evil" }, "invalid module"},
		{func(o *exe.Origin) { o.MainPackage = "example.com/other" }, "not in its main module"},
		{func(o *exe.Origin) { o.MainSum = "h1:x="; o.ModuleVersion = "v1;evil" }, "invalid module version"},
		{func(o *exe.Origin) { o.MainSum = "h1:x="; o.ModuleVersion = "v2.4.2"; o.Deps[0].Version = "(devel)" }, "from a local directory"},
		{func(o *exe.Origin) {
			o.MainSum, o.ModuleVersion = "h1:x=", "v2.4.2"
			o.Deps[0].Replace = &exe.Module{Path: "../sys"}
		}, "not a published version"},
		{func(o *exe.Origin) { o.Roots.Module = "/a;/etc=>/b" }, "cannot express that name"},
		{func(o *exe.Origin) { o.Roots.GOROOT = "/a' -toolexec=b '" }, "cannot express that name"},
		{set("GOOS", "windows"), "GOOS"},
		{set("GOARCH", "arm64"), "but is a Linux executable for amd64"},
		{set("-buildmode", "plugin"), "-buildmode"},
		{set("-toolexec", "evil"), "-toolexec"},
		{set("-overlay", "/evil.json"), "-overlay"},
		{set("-modfile", "/evil.mod"), "-modfile"},
		{set("-C", "/"), "not supported"},
		{set("CC", "/evil"), "not supported"},
		{set("GOFLAGS", "-toolexec=evil"), "not supported"},
		{set("GOROOT", "/evil"), "not supported"},
		{set("-pgo", "/home/you/.ssh/id_rsa"), "-pgo"},
		{set("-tags", "a -toolexec=evil"), "-tags"},
		{set("GOAMD64", "v1 GOFLAGS=x"), "GOAMD64"},
		{set("GOEXPERIMENT", "@x"), "GOEXPERIMENT"},
		{set("GOFIPS140", "../../evil"), "GOFIPS140"},
	} {
		o := containerd()
		test.change(o)
		r, err := New(o, linux())
		switch {
		case diag.CodeOf(err) != diag.TwinRefused:
			t.Errorf("want a refusal for %q: %v (%+v)", test.reason, err, r)
		case !strings.Contains(err.Error(), test.reason):
			t.Errorf("error %q, want %q", err, test.reason)
		}
	}
}

// TestCrossCompiler makes recipes for a target with cgo on machines that are not like the
// node.
func TestCrossCompiler(t *testing.T) {
	for _, h := range []Host{{OS: "darwin", Arch: "amd64"}, {OS: "windows", Arch: "amd64"}, {OS: "linux", Arch: "arm64", CC: map[string]string{"arm64": "gcc"}}} {
		_, err := New(containerd(), h)
		if diag.CodeOf(err) != diag.TwinRefused || !strings.Contains(err.Error(), "C compiler") || !strings.Contains(diag.Hint(err), "x86_64-linux-gnu-gcc") {
			t.Errorf("%v: %v (%s)", h, err, diag.Hint(err))
		}
		h.CC = map[string]string{"amd64": "/usr/bin/x86_64-linux-gnu-gcc"}
		r, err := New(containerd(), h)
		if err != nil {
			t.Errorf("%v: %v", h, err)
		} else if !slices.Contains(r.Env, "CC=/usr/bin/x86_64-linux-gnu-gcc") {
			t.Errorf("%v: the environment is %q", h, r.Env)
		}
	}
	r, err := New(containerd(), linux())
	if err != nil || slices.ContainsFunc(r.Env, func(v string) bool { return strings.HasPrefix(v, "CC=") }) {
		t.Errorf("on a machine like the node: %+v, %v", r, err)
	}
}

// TestFlagValues lists values that are allowed and values that must not be: those
// run a program on the host, or read or write a file.
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

// FuzzSettings checks that no allowed value contains a known dangerous flag, however
// it is written.
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
			if strings.Contains(value, "\x00") {
				t.Errorf("%s=%q allows a NUL", key, value)
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
				if bad := findDanger(w); bad != "" {
					t.Errorf("%s=%q allows %s (%q)", key, value, bad, r.Flags)
				}
			}
		}
	})
}

// findDanger returns what is dangerous about a single word, "" if nothing is.
func findDanger(word string) string {
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
