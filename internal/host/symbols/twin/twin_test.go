package twin

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// sample returns a program with a vendored dependency. It imports nothing but the
// runtime, so that it builds quickly.
func sample() map[string]string {
	return map[string]string{
		"go.mod":                        "module example.com/m\n\ngo 1.26.0\n\nrequire example.com/dep v1.0.0\n",
		"vendor/modules.txt":            "# example.com/dep v1.0.0\n## explicit; go 1.21\nexample.com/dep\n",
		"vendor/example.com/dep/go.mod": "module example.com/dep\n\ngo 1.21\n",
		"vendor/example.com/dep/dep.go": "package dep\n\n//go:noinline\nfunc Twice(n int) int {\n\tif n > 1000 {\n\t\tpanic(\"large\")\n\t}\n\treturn 2 * n\n}\n",
		"cmd/m/main.go":                 "package main\n\nimport \"example.com/dep\"\n\nvar version = \"unknown\"\n\nfunc main() {\n\tprintln(version, dep.Twice(21), extra())\n}\n",
		"cmd/m/plain.go":                "//go:build !extra\n\npackage main\n\n//go:noinline\nfunc extra() int { return 1 }\n",
		"cmd/m/extra.go":                "//go:build extra\n\npackage main\n\n//go:noinline\nfunc extra() int { println(\"extra\"); return 2 }\n",
	}
}

// buildTarget builds the sample in dir and returns the path of the executable, which
// is outside of dir.
func buildTarget(t *testing.T, dir string, env []string, flags ...string) string {
	testenv.SkipShort(t, "it builds a target")
	t.Helper()
	out := filepath.Join(t.TempDir(), "m")
	run(t, dir, append([]string{"CGO_ENABLED=0"}, env...), slices.Concat([]string{"go", "build", "-o", out}, flags, []string{"./cmd/m"})...)
	return out
}

// TestFromTree builds the twins of programs that record no commit, from a copy of
// their source in another directory.
func TestFromTree(t *testing.T) {
	buildDir, userDir := t.TempDir(), t.TempDir()
	writeTree(t, buildDir, sample())
	writeTree(t, userDir, sample())
	for name, test := range map[string]struct{ env, flags []string }{
		"recorded flags":       {nil, []string{"-ldflags=-s -w -X 'main.version=1 2'", "-tags=extra"}},
		"trimpath":             {nil, []string{"-trimpath", "-ldflags=-s -w"}},
		"pie":                  {nil, []string{"-buildmode=pie", "-ldflags=-s -w", "-gcflags=-trimpath=/root/go/src"}},
		"another architecture": {[]string{"GOARCH=" + otherArch()}, []string{"-ldflags=-s -w"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := openOriginal(t, buildTarget(t, buildDir, test.env, append(test.flags, "-buildvcs=false")...))
			checkTwin(t, o, userDir)
			if name == "recorded flags" {
				checkShellScript(t, o, userDir, "")
			}
		})
	}
}

// sampleWithC returns the sample with C code, whose size depends on SHIFT.
func sampleWithC() map[string]string {
	files := sample()
	files["cmd/m/c.go"] = `package main

/*
#ifndef SHIFT
#define SHIFT 8
#endif
static char data[SHIFT] = {1};
static char bss[SHIFT];
static int work(int n) { return data[n % SHIFT] + bss[n % SHIFT]; }
*/
import "C"

func init() { println(C.work(3)) }
`
	return files
}

// TestFromTreeWithC builds the twins of programs whose C code was compiled by something else
// than the host's C compiler.
func TestFromTreeWithC(t *testing.T) {
	testenv.SkipShort(t, "it builds targets with C code")
	buildDir, userDir := t.TempDir(), t.TempDir()
	files := sampleWithC()
	writeTree(t, buildDir, files)
	writeTree(t, userDir, files)
	cc := writeCompiler(t, "gcc")
	for name, tt := range map[string]struct {
		cc     string
		goOnly bool
		flags  []string
	}{
		"the same compiler":       {"gcc", false, []string{"-ldflags=-s -w -X main.version=1"}},
		"another":                 {cc, true, []string{"-ldflags=-s -w -X main.version=1"}},
		"another, pie":            {cc, true, []string{"-ldflags=-s -w '-extldflags=-Wl,-z,now -Wl,-z,relro'", "-buildmode=pie"}},
		"stripped later":          {"gcc", false, []string{"-ldflags=-X main.version=1", "-buildmode=pie"}},
		"stripped later, another": {cc, true, []string{"-ldflags=-X main.version=1", "-buildmode=pie"}},
		"values to recover":       {cc, true, []string{"-ldflags=-s -w -X main.version=1.2.3", "-trimpath"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := buildTarget(t, buildDir, []string{"CGO_ENABLED=1", "CC=" + tt.cc}, append(tt.flags, "-buildvcs=false")...)
			if strings.HasPrefix(name, "stripped") { // as debhelper's dh_strip does
				run(t, buildDir, nil, "strip", "--remove-section=.comment", "--remove-section=.note", target)
			}
			o := openOriginal(t, target)
			if file := checkTwin(t, o, userDir); file.GoOnly != tt.goOnly {
				t.Errorf("GoOnly is %v, want %v", file.GoOnly, tt.goOnly)
			}
		})
	}
}

// writeCompiler writes a C compiler that compiles otherwise than the given one.
func writeCompiler(t *testing.T, gcc string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec "+gcc+" \"$@\" -O1 -DSHIFT=5000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCrossCompiler builds the twin of an arm64 program with C code on another machine.
func TestCrossCompiler(t *testing.T) {
	testenv.SecondTier(t)
	const gcc = "aarch64-linux-gnu-gcc"
	buildDir, userDir := t.TempDir(), t.TempDir()
	writeTree(t, buildDir, sampleWithC())
	writeTree(t, userDir, sampleWithC())
	for cc, goOnly := range map[string]bool{gcc: false, writeCompiler(t, gcc): true} {
		o := openOriginal(t, buildTarget(t, buildDir, []string{"CGO_ENABLED=1", "GOARCH=arm64", "CC=" + cc}, "-ldflags=-s -w", "-buildmode=pie", "-buildvcs=false"))
		if file := checkTwin(t, o, userDir); file.GoOnly != goOnly {
			t.Errorf("%s: GoOnly is %v, want %v", cc, file.GoOnly, goOnly)
		}
	}
}

func otherArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

// checkTwin builds the twin with the source in dir, and checks the debug file and
// that the build leaves no traces.
func checkTwin(t *testing.T, o localOriginal, dir string) *DebugFile {
	t.Helper()
	before := hashTree(t, dir)
	b := newBuilder(t)
	packages := 0
	b.Progress = func(s Step) { packages = max(packages, s.Total) }
	file, err := b.Build(t.Context(), o.recipe(t), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if packages < 5 {
		t.Errorf("progress reports %d packages, want at least 5", packages)
	}
	if hashTree(t, dir) != before {
		t.Error("the build changed the user's directory")
	}
	f, err := elf.Open(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.DWARF(); err != nil {
		t.Error(err)
	}
	p, err := o.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := b.Find(p)
	if err != nil {
		t.Fatal(err)
	}
	if found == nil || *found != *file {
		t.Errorf("found %+v, want %+v", found, file)
	}
	checkNoWork(t, b)
	return file
}

// checkShellScript runs the script that symbols --print prints, which must build the
// same twin.
func checkShellScript(t *testing.T, o localOriginal, dir, ldflags string) {
	t.Helper()
	checkScript(t, o.recipe(t), o, dir, ldflags)
}

// checkScript is checkShellScript for another recipe than the first.
func checkScript(t *testing.T, r *recipe.Recipe, o localOriginal, dir, ldflags string) {
	t.Helper()
	quote := func(words []string) string {
		var b strings.Builder
		for _, w := range words {
			b.WriteString(" '" + strings.ReplaceAll(w, "'", `'\''`) + "'")
		}
		return b.String()[1:]
	}
	script, err := r.ShellScript(dir, ldflags, quote)
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	writeTree(t, tmp, map[string]string{"dapbridge": "#!/bin/sh\nexec env " + noRaceSleep + " " + os.Args[0] + " \"$@\"\n"})
	if err := os.Chmod(filepath.Join(tmp, "dapbridge"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + tmp + ":" + os.Getenv("PATH"), "TMPDIR=" + tmp, "GOCACHE=" + filepath.Join(newBuilder(t).Dir, "gocache")}
	run(t, tmp, env, "sh", "-c", script)
	p, err := o.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := prove(t.Context(), p, filepath.Join(tmp, "twin"), o, r); err != nil {
		t.Errorf("the script's twin: %v\n%s", err, script)
	}
}

// checkNoWork checks that no build left anything but its lock.
func checkNoWork(t *testing.T, b *Builder) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.Dir, "work"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// hashTree returns a hash over the names, modes, times and contents in a directory.
func hashTree(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h.Write([]byte(path + info.Mode().String() + info.ModTime().String()))
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			h.Write(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestFromRevision builds the twins of programs that record a commit of a git
// repository. The user's clone is ahead of it, has other tags, and has uncommitted
// changes.
func TestFromRevision(t *testing.T) {
	repo := t.TempDir()
	writeTree(t, repo, sample())
	t.Setenv("GOPROXY", "off")
	git := func(args ...string) { run(t, repo, nil, append([]string{"git"}, args...)...) }
	git("init", "--quiet", "--initial-branch=main")
	git("add", "--all")
	git("commit", "--quiet", "--message=first")
	first := buildTarget(t, repo, nil, "-buildvcs=true", "-ldflags=-s -w")
	writeTree(t, repo, map[string]string{"cmd/m/more.go": "package main\n\nfunc init() { println(\"more\") }\n"})
	git("add", "--all")
	git("commit", "--quiet", "--message=second")
	git("tag", "v1.2.3")
	tagged := buildTarget(t, repo, nil, "-buildvcs=true", "-ldflags=-s -w")
	writeTree(t, repo, map[string]string{"cmd/m/more.go": "package main\n\nfunc init() { println(\"even more\") }\n"})
	git("commit", "--quiet", "--all", "--message=third")
	pseudo := buildTarget(t, repo, nil, "-buildvcs=true", "-trimpath", "-ldflags=-s -w")

	clone := filepath.Join(t.TempDir(), "clone")
	git("clone", "--quiet", repo, clone)
	git("-C", clone, "tag", "v1.0.0", "HEAD~2")
	git("-C", clone, "tag", "--delete", "v1.2.3")
	writeTree(t, clone, map[string]string{"cmd/m/main.go": "package broken\n", "new.txt": "not committed"})
	for name, path := range map[string]string{"older commit": first, "tagged": tagged, "pseudo-version": pseudo} {
		t.Run(name, func(t *testing.T) { checkTwin(t, openOriginal(t, path), filepath.Join(clone, "cmd")) })
	}
	t.Run("missing commit", func(t *testing.T) {
		o := openOriginal(t, tagged)
		r := o.recipe(t)
		r.Source.Revision = strings.Repeat("0", 40)
		checkBuildFails(t, r, clone, o, diag.TwinBuild, "does not contain")
		checkBuildFails(t, r, t.TempDir(), o, diag.TwinBuild, "is not in a git repository")
	})
}

// TestFromWorkspace builds the twin of a program whose dependency is in the same
// go.work.
func TestFromWorkspace(t *testing.T) {
	repo := t.TempDir()
	for name, text := range sample() {
		if rel, ok := strings.CutPrefix(name, "vendor/example.com/"); ok {
			name = rel
		} else {
			name = "m/" + name
		}
		if !strings.Contains(name, "modules.txt") {
			writeTree(t, repo, map[string]string{name: text})
		}
	}
	writeTree(t, repo, map[string]string{"go.work": "go 1.26.0\n\nuse (\n\t./m\n\t./dep\n)\n"})
	run(t, repo, nil, "git", "init", "--quiet", "--initial-branch=main")
	run(t, repo, nil, "git", "add", "--all")
	run(t, repo, nil, "git", "commit", "--quiet", "--message=first")
	o := openOriginal(t, buildTarget(t, filepath.Join(repo, "m"), []string{"GOWORK="}, "-buildvcs=true", "-ldflags=-s -w"))
	if r := o.recipe(t); !r.Workspace {
		t.Fatalf("the recipe is not one of a workspace: %+v", r)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, repo, nil, "git", "clone", "--quiet", "--no-tags", repo, clone)
	checkTwin(t, o, clone)
	checkShellScript(t, o, filepath.Join(clone, "dep"), "")
}

// TestFromSubmodule builds the twin of a program whose dependency is a submodule that
// go.mod replaces it with.
func TestFromSubmodule(t *testing.T) {
	dep, repo := t.TempDir(), t.TempDir()
	files := sample()
	writeTree(t, dep, map[string]string{"go.mod": files["vendor/example.com/dep/go.mod"], "dep.go": files["vendor/example.com/dep/dep.go"]})
	files["go.mod"] += "\nreplace example.com/dep => ./third/dep\n"
	for name, text := range files {
		if !strings.HasPrefix(name, "vendor/") {
			writeTree(t, repo, map[string]string{name: text})
		}
	}
	for _, dir := range []string{dep, repo} {
		run(t, dir, nil, "git", "init", "--quiet", "--initial-branch=main")
		if dir == repo {
			run(t, repo, nil, "git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", dep, "third/dep")
		}
		run(t, dir, nil, "git", "add", "--all")
		run(t, dir, nil, "git", "commit", "--quiet", "--message=first")
	}
	o := openOriginal(t, buildTarget(t, repo, nil, "-buildvcs=true", "-ldflags=-s -w"))
	checkTwin(t, o, repo)
}

func TestTagPrefix(t *testing.T) {
	for root, want := range map[string]string{
		"/r": "", "/r/m": "m/", "/r/a/m": "a/m/", "/r/v2": "", "/r/m/v2": "m/", "/r/vendor": "vendor/",
	} {
		if got := tagPrefix("/r", root); got != want {
			t.Errorf("tagPrefix(/r, %s) = %q, want %q", root, got, want)
		}
	}
}

// TestFromModule builds the twins of programs of a published module, which a proxy
// in a directory serves.
func TestFromModule(t *testing.T) {
	settings := publishSample(t)
	for _, flags := range [][]string{{"-trimpath", "-ldflags=-s -w"}, {"-ldflags=-s -w"}} {
		bin := t.TempDir()
		run(t, bin, append([]string{"CGO_ENABLED=0", "GOBIN=" + bin}, settings...), slices.Concat([]string{"go", "install"}, flags, []string{"example.com/m/cmd/m@v1.5.0"})...)
		o := openOriginal(t, filepath.Join(bin, "m"))
		if got := o.recipe(t).Source.Version; got != "v1.5.0" {
			t.Fatalf("the recipe's version is %q, want v1.5.0", got)
		}
		checkTwin(t, o, t.TempDir())
		checkShellScript(t, o, t.TempDir(), "")
	}
}

// publishSample publishes version v1.5.0 of the sample, with its dependency, by a proxy in
// a directory, and returns the variables with which the go command uses that.
func publishSample(t *testing.T) []string {
	t.Helper()
	proxy, src := t.TempDir(), t.TempDir()
	writeTree(t, filepath.Join(src, "m"), unvendored())
	writeTree(t, filepath.Join(src, "dep"), map[string]string{"go.mod": sample()["vendor/example.com/dep/go.mod"], "dep.go": sample()["vendor/example.com/dep/dep.go"]})
	publish(t, proxy, filepath.Join(src, "m"), module.Version{Path: "example.com/m", Version: "v1.5.0"})
	publish(t, proxy, filepath.Join(src, "dep"), module.Version{Path: "example.com/dep", Version: "v1.0.0"})
	settings := []string{"GOPROXY=file://" + proxy + ",direct", "GONOSUMDB=example.com", "GOMODCACHE=" + filepath.Join(t.TempDir(), "mod")}
	for _, v := range settings {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	t.Cleanup(func() { removeAll(os.Getenv("GOMODCACHE")) })
	return settings
}

// unvendored returns the sample without its vendor directory, but with a go.sum.
func unvendored() map[string]string {
	files := sample()
	maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasPrefix(name, "vendor") })
	files["go.sum"] = depSums
	return files
}

// publish adds a module to a proxy's directory (https://go.dev/ref/mod#goproxy-protocol).
func publish(t *testing.T, proxy, dir string, v module.Version) {
	t.Helper()
	at := filepath.Join(proxy, v.Path, "@v")
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	writeTree(t, at, map[string]string{"list": v.Version + "\n", v.Version + ".mod": string(mod), v.Version + ".info": `{"Version":"` + v.Version + `"}`})
	f, err := os.Create(filepath.Join(at, v.Version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := zip.CreateFromDir(f, v, dir); err != nil {
		t.Fatal(err)
	}
}

// TestDiffers checks that a build that is another program is refused, and that the error
// names the first function that differs and the likely cause.
func TestDiffers(t *testing.T) {
	buildDir := t.TempDir()
	writeTree(t, buildDir, sample())
	o := openOriginal(t, buildTarget(t, buildDir, nil, "-buildvcs=false", "-ldflags=-s -w"))
	changed := func(name, from, to string) string {
		dir := t.TempDir()
		files := sample()
		files[name] = strings.Replace(files[name], from, to, 1)
		writeTree(t, dir, files)
		return dir
	}
	checkBuildFails(t, o.recipe(t), changed("cmd/m/plain.go", "return 1", "println(\"changed\"); return 1"), o, diag.TwinDiffers, "first in main.extra", "another source")
	checkBuildFails(t, o.recipe(t), changed("cmd/m/plain.go", "return 1", "return 7"), o, diag.TwinDiffers, ".text differs, first in main.")
	checkBuildFails(t, o.recipe(t), changed("vendor/example.com/dep/dep.go", "2 * n", "3*n + 4*(n+1)"), o, diag.TwinDiffers, "example.com/dep.Twice")

	r := o.recipe(t)
	r.Flags = append(r.Flags, "-tags=extra")
	checkBuildFails(t, r, buildDir, o, diag.TwinDiffers)
	r = o.recipe(t)
	r.Env = append(r.Env, "GOAMD64=v3")
	checkBuildFails(t, r, buildDir, o, diag.TwinDiffers, "another toolchain, or a flag")
}

// TestAnotherToolchain checks that what another patch version of Go makes of the same
// source is refused, and that the error names the toolchain as the cause.
func TestAnotherToolchain(t *testing.T) {
	testenv.SecondTier(t)
	buildDir := t.TempDir()
	writeTree(t, buildDir, sample())
	o := openOriginal(t, buildTarget(t, buildDir, nil, "-buildvcs=false", "-ldflags=-s -w"))
	r := o.recipe(t)
	r.Toolchain = fetchSibling(t, r.Toolchain)
	checkBuildFails(t, r, buildDir, o, diag.TwinDiffers, "first in runtime.", "another toolchain")
}

// fetchSibling downloads another patch version of Go and returns it: a distant one,
// since neighbours may compile a small program to the same code.
func fetchSibling(t *testing.T, version string) string {
	t.Helper()
	parts := strings.Split(version, ".") // go1, 26, 8
	if len(parts) != 3 {
		t.Fatalf("%s is not a Go release", version)
	}
	patch := "0"
	if parts[2] == patch {
		patch = "1"
	}
	other := parts[0] + "." + parts[1] + "." + patch
	cmd := exec.Command("go", "version")
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "GOTOOLCHAIN="+other)
	if out, err := cmd.CombinedOutput(); err != nil {
		testenv.Skipf(t, "%s is not available: %v\n%s", other, err, out)
	}
	return other
}

// TestLinkFlags builds the twins of programs that do not record the values set by
// -X: with those recovered from the program, and with those that the user gives.
func TestLinkFlags(t *testing.T) {
	buildDir := t.TempDir()
	files := sample()
	files["cmd/m/main.go"] = strings.Replace(files["cmd/m/main.go"], "var version", "var commit, unset string\n\nvar version", 1)
	files["cmd/m/main.go"] = strings.Replace(files["cmd/m/main.go"], "println(version", "println(commit, unset, version", 1)
	writeTree(t, buildDir, files)
	for _, flags := range [][]string{{}, {"-buildmode=pie"}} {
		o := openOriginal(t, buildTarget(t, buildDir, nil, append(flags, "-buildvcs=false", "-trimpath", "-ldflags=-s -w -X main.version=v9 -X 'main.commit=it is a longer one'")...))
		file := checkTwin(t, o, buildDir)
		checkShellScript(t, o, buildDir, file.LDFlags)
		b := newBuilder(t)
		b.LDFlags = "-s -X main.version=v9 -X 'main.commit=it is a longer one'"
		if _, err := b.Build(t.Context(), o.recipe(t), buildDir, o); err != nil {
			t.Errorf("with the right flags: %v", err)
		}
		b.LDFlags = "-X main.version=v8"
		if _, err := b.Build(t.Context(), o.recipe(t), buildDir, o); diag.CodeOf(err) != diag.TwinDiffers {
			t.Errorf("with wrong flags: %v, want a %s error", err, diag.TwinDiffers)
		}
	}
}

// TestBuildFails checks that errors contain the toolchain's messages.
func TestBuildFails(t *testing.T) {
	buildDir, userDir := t.TempDir(), t.TempDir()
	writeTree(t, buildDir, sample())
	o := openOriginal(t, buildTarget(t, buildDir, nil, "-buildvcs=false", "-ldflags=-s -w"))
	files := sample()
	files["cmd/m/main.go"] += "\nfunc broken() { return 1 }\n"
	writeTree(t, userDir, files)
	checkBuildFails(t, o.recipe(t), userDir, o, diag.TwinBuild, "too many return values")
	checkBuildFails(t, o.recipe(t), t.TempDir(), o, diag.TwinBuild, "is not in the target's module example.com/m")
	r := o.recipe(t)
	r.Toolchain = "go1.21.99"
	checkBuildFails(t, r, buildDir, o, diag.TwinBuild, "is not available")
}

// checkBuildFails builds a twin and checks that this fails with the code and texts,
// and leaves nothing behind.
func checkBuildFails(t *testing.T, r *recipe.Recipe, dir string, o localOriginal, code diag.Code, texts ...string) {
	t.Helper()
	b := newBuilder(t)
	file, err := b.Build(t.Context(), r, dir, o)
	if diag.CodeOf(err) != code {
		t.Errorf("built %+v, error %v, want a %s error", file, err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q, want %q", err, text)
		}
	}
	checkNoWork(t, b)
}

// TestCancelled checks that neither files nor processes are left when a build is
// cancelled midway.
func TestCancelled(t *testing.T) {
	buildDir := t.TempDir()
	writeTree(t, buildDir, sample())
	o := openOriginal(t, buildTarget(t, buildDir, nil, "-buildvcs=false", "-ldflags=-s -w"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBuilder(t)
	b.Dir = t.TempDir() // has an empty build cache, so that the build takes a while
	b.Progress = func(s Step) {
		if s.Phase == Packages && s.Done == 2 {
			cancel()
		}
	}
	_, err := b.Build(ctx, o.recipe(t), buildDir, o)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want context.Canceled", err)
	}
	checkNoWork(t, b)
	if _, err := os.Stat(filepath.Join(b.Dir, "kept")); err == nil {
		t.Error("a debug file was stored")
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		if env, err := os.ReadFile(path); err == nil && strings.Contains(string(env), b.Dir) {
			t.Errorf("a process of the build is still running: %s", path)
		}
	}
	removeAll(b.Dir)
}

// TestToolVersion checks that a tool's version says whether its output differs from
// that of an ordinary build, since the go command's cache relies on it.
func TestToolVersion(t *testing.T) {
	out, err := exec.Command("go", "env", "GOTOOLDIR").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	for _, tt := range []struct {
		name   string
		rules  []string
		goroot string
		same   bool
	}{
		{"compile", nil, "", true},
		{"asm", nil, "", true},
		{"compile", []string{"/here=>/there"}, "", false},
		{"compile", nil, "/usr/lib/go", false},
		{"link", nil, "", false},
	} {
		tool := []string{filepath.Join(dir, tt.name), "-V=full"}
		plain, err := exec.Command(tool[0], tool[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		var stdout strings.Builder
		if status, err := RunTool(tool, Changes{Rules: tt.rules, GOROOT: tt.goroot}, os.Environ(), &stdout, os.Stderr); status != 0 || err != nil {
			t.Fatalf("%s: exit status %d, %v", tt.name, status, err)
		}
		got := stdout.String()
		if same := got == string(plain); same != tt.same {
			t.Errorf("%s with %q, %q prints %q, without %q; same: want %v", tt.name, tt.rules, tt.goroot, got, plain, tt.same)
		}
		if want := strings.TrimSpace(string(plain)); !strings.HasPrefix(got, want) {
			t.Errorf("%s prints %q, want it to begin with %q", tt.name, got, want)
		}
	}
}
