package twin

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
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

// sample is a program with a dependency in its vendor directory. It needs
// nothing but the runtime, so that it is built in a moment.
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

// buildTarget builds the sample in dir and returns the executable, without the
// directory that it was built in being needed any more.
func buildTarget(t *testing.T, dir string, env []string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "m")
	run(t, dir, append([]string{"CGO_ENABLED=0"}, env...), slices.Concat([]string{"go", "build", "-o", out}, flags, []string{"./cmd/m"})...)
	return out
}

// TestFromATree builds the twins of programs that name no commit, from a copy
// of their source in another directory.
func TestFromATree(t *testing.T) {
	there, here := t.TempDir(), t.TempDir()
	writeTree(t, there, sample())
	writeTree(t, here, sample())
	for name, test := range map[string]struct{ env, flags []string }{
		"recorded flags":       {nil, []string{"-ldflags=-s -w -X 'main.version=1 2'", "-tags=extra"}},
		"trimpath":             {nil, []string{"-trimpath", "-ldflags=-s -w"}},
		"pie":                  {nil, []string{"-buildmode=pie", "-ldflags=-s -w", "-gcflags=-trimpath=/root/go/src"}},
		"another architecture": {[]string{"GOARCH=" + otherArch()}, []string{"-ldflags=-s -w"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOriginal(t, buildTarget(t, there, test.env, append(test.flags, "-buildvcs=false")...))
			checkTwin(t, s, here)
			if name == "recorded flags" {
				checkShell(t, s, here, "")
			}
		})
	}
}

func otherArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

// checkTwin builds the twin and looks at what is kept of it.
func checkTwin(t *testing.T, s localOriginal, dir string) *DebugFile {
	t.Helper()
	before := hashTree(t, dir)
	b := newBuilder(t)
	packages := 0
	b.Progress = func(s Step) { packages = max(packages, s.Total) }
	k, err := b.Build(t.Context(), s.recipe(t), dir, s)
	if err != nil {
		t.Fatal(err)
	}
	if packages < 5 {
		t.Errorf("progress tells of %d packages", packages)
	}
	if hashTree(t, dir) != before {
		t.Error("the user's directory has changed")
	}
	f, err := elf.Open(k.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.DWARF(); err != nil {
		t.Error(err)
	}
	p, err := s.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Find(p); err != nil || again == nil || *again != *k {
		t.Errorf("found %+v, %v; want %+v", again, err, k)
	}
	checkNoWork(t, b)
	return k
}

// checkShell runs what symbols --print shows: it must leave the same twin.
func checkShell(t *testing.T, s localOriginal, dir, ldflags string) {
	t.Helper()
	quote := func(words []string) string {
		var b strings.Builder
		for _, w := range words {
			b.WriteString(" '" + strings.ReplaceAll(w, "'", `'\''`) + "'")
		}
		return b.String()[1:]
	}
	script, err := s.recipe(t).ShellScript(dir, ldflags, quote)
	if err != nil {
		t.Fatal(err)
	}
	where := t.TempDir()
	writeTree(t, where, map[string]string{"dapbridge": "#!/bin/sh\nexec env " + noRaceSleep + " " + os.Args[0] + " \"$@\"\n"})
	if err := os.Chmod(filepath.Join(where, "dapbridge"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + where + ":" + os.Getenv("PATH"), "TMPDIR=" + where, "GOCACHE=" + filepath.Join(newBuilder(t).Dir, "gocache")}
	run(t, where, env, "sh", "-c", script)
	p, err := s.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := prove(t.Context(), p, filepath.Join(where, "twin"), s, s.recipe(t)); err != nil {
		t.Errorf("by the shell: %v\n%s", err, script)
	}
}

// noWork sees that no build has left anything but its lock.
func checkNoWork(t *testing.T, b *Builder) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.Dir, "work"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// hashTree sums up names, modes, times and contents.
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

// TestFromARevision builds the twins of programs with the stamps of a git
// repository: from a tag, from a commit behind the user's, and in a
// subdirectory of the repository.
func TestFromARevision(t *testing.T) {
	there := t.TempDir()
	writeTree(t, there, sample())
	git := func(dir string, args ...string) string { return run(t, dir, nil, append([]string{"git"}, args...)...) }
	git(there, "init", "--quiet", "--initial-branch=main")
	git(there, "add", "--all")
	git(there, "commit", "--quiet", "--message=first")
	behind := buildTarget(t, there, nil, "-buildvcs=true", "-ldflags=-s -w")
	writeTree(t, there, map[string]string{"cmd/m/more.go": "package main\n\nfunc init() { println(\"more\") }\n"})
	git(there, "add", "--all")
	git(there, "commit", "--quiet", "--message=second")
	git(there, "tag", "v1.2.3")
	tagged := buildTarget(t, there, nil, "-buildvcs=true", "-ldflags=-s -w")
	writeTree(t, there, map[string]string{"cmd/m/more.go": "package main\n\nfunc init() { println(\"even more\") }\n"})
	git(there, "commit", "--quiet", "--all", "--message=third")
	pseudo := buildTarget(t, there, nil, "-buildvcs=true", "-trimpath", "-ldflags=-s -w")

	// The user's own: another directory, further on, with other tags and changes.
	here := filepath.Join(t.TempDir(), "clone")
	git(there, "clone", "--quiet", there, here)
	git(here, "tag", "v1.0.0", "HEAD~2")
	git(here, "tag", "--delete", "v1.2.3")
	writeTree(t, here, map[string]string{"cmd/m/main.go": "package broken\n", "new.txt": "not committed"})
	for name, path := range map[string]string{"behind": behind, "tagged": tagged, "pseudo-version": pseudo} {
		t.Run(name, func(t *testing.T) { checkTwin(t, openOriginal(t, path), filepath.Join(here, "cmd")) })
	}

	t.Run("workspace", func(t *testing.T) {
		there := t.TempDir()
		for name, text := range sample() {
			if rel, ok := strings.CutPrefix(name, "vendor/example.com/"); ok {
				name = rel
			} else {
				name = "m/" + name
			}
			if !strings.Contains(name, "modules.txt") {
				writeTree(t, there, map[string]string{name: text})
			}
		}
		writeTree(t, there, map[string]string{"go.work": "go 1.26.0\n\nuse (\n\t./m\n\t./dep\n)\n"})
		git(there, "init", "--quiet", "--initial-branch=main")
		git(there, "add", "--all")
		git(there, "commit", "--quiet", "--message=first")
		s := openOriginal(t, buildTarget(t, filepath.Join(there, "m"), []string{"GOWORK="}, "-buildvcs=true", "-ldflags=-s -w"))
		if r := s.recipe(t); !r.Workspace {
			t.Fatalf("the recipe: %+v", r)
		}
		here := filepath.Join(t.TempDir(), "clone")
		git(there, "clone", "--quiet", "--no-tags", there, here)
		checkTwin(t, s, here)
		checkShell(t, s, filepath.Join(here, "dep"), "")
	})
	t.Run("not there", func(t *testing.T) {
		s := openOriginal(t, tagged)
		r := s.recipe(t)
		r.Source.Revision = strings.Repeat("0", 40)
		wantError(t, r, here, s, diag.TwinBuild, "does not hold")
		wantError(t, r, t.TempDir(), s, diag.TwinBuild, "is in no git repository")
	})
}

func TestTagPrefix(t *testing.T) {
	for root, want := range map[string]string{
		"/r": "", "/r/m": "m/", "/r/a/m": "a/m/", "/r/v2": "", "/r/m/v2": "m/", "/r/vendor": "vendor/",
	} {
		if got := tagPrefix("/r", root); got != want {
			t.Errorf("%s: %q, want %q", root, got, want)
		}
	}
}

// TestFromAModule builds the twin of a program of a published module, here from
// a proxy in a directory.
func TestFromAModule(t *testing.T) {
	proxy, src := t.TempDir(), t.TempDir()
	files := sample()
	for name := range files {
		if strings.HasPrefix(name, "vendor") {
			delete(files, name)
		}
	}
	writeTree(t, filepath.Join(src, "m"), files)
	writeTree(t, filepath.Join(src, "dep"), map[string]string{"go.mod": sample()["vendor/example.com/dep/go.mod"], "dep.go": sample()["vendor/example.com/dep/dep.go"]})
	publish(t, proxy, filepath.Join(src, "m"), module.Version{Path: "example.com/m", Version: "v1.5.0"})
	publish(t, proxy, filepath.Join(src, "dep"), module.Version{Path: "example.com/dep", Version: "v1.0.0"})
	settings := []string{"GOPROXY=file://" + proxy + ",direct", "GONOSUMDB=example.com", "GOMODCACHE=" + filepath.Join(t.TempDir(), "mod")}
	for _, v := range settings {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	t.Cleanup(func() { removeAll(os.Getenv("GOMODCACHE")) })
	for _, flags := range [][]string{{"-trimpath", "-ldflags=-s -w"}, {"-ldflags=-s -w"}} {
		bin := t.TempDir()
		run(t, bin, append([]string{"CGO_ENABLED=0", "GOBIN=" + bin}, settings...), slices.Concat([]string{"go", "install"}, flags, []string{"example.com/m/cmd/m@v1.5.0"})...)
		s := openOriginal(t, filepath.Join(bin, "m"))
		if r := s.recipe(t); r.Source.Version != "v1.5.0" {
			t.Fatalf("the recipe: %+v", r)
		}
		checkTwin(t, s, t.TempDir())
		checkShell(t, s, t.TempDir(), "")
	}
}

// publish puts a module into a proxy's directory (https://go.dev/ref/mod#goproxy-protocol).
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

// TestDiffers sees that a twin that is none is refused, with the first function
// that differs and what most likely does.
func TestDiffers(t *testing.T) {
	there := t.TempDir()
	writeTree(t, there, sample())
	s := openOriginal(t, buildTarget(t, there, nil, "-buildvcs=false", "-ldflags=-s -w"))
	changed := func(name, from, to string) string {
		dir := t.TempDir()
		files := sample()
		files[name] = strings.Replace(files[name], from, to, 1)
		writeTree(t, dir, files)
		return dir
	}
	wantError(t, s.recipe(t), changed("cmd/m/plain.go", "return 1", "println(\"changed\"); return 1"), s, diag.TwinDiffers, "first in main.extra", "another source")
	wantError(t, s.recipe(t), changed("cmd/m/plain.go", "return 1", "return 7"), s, diag.TwinDiffers, ".text differs, first in main.")
	wantError(t, s.recipe(t), changed("vendor/example.com/dep/dep.go", "2 * n", "3*n + 4*(n+1)"), s, diag.TwinDiffers, "example.com/dep.Twice")

	r := s.recipe(t)
	r.Flags = append(r.Flags, "-tags=extra")
	wantError(t, r, there, s, diag.TwinDiffers)
	r = s.recipe(t)
	r.Env = append(r.Env, "GOAMD64=v3")
	wantError(t, r, there, s, diag.TwinDiffers, "another toolchain, or a flag")
}

// TestAnotherToolchain sees that what another patch version of Go makes of the
// same source is refused, and that the toolchain is named as the reason.
func TestAnotherToolchain(t *testing.T) {
	testenv.SecondTier(t)
	there := t.TempDir()
	writeTree(t, there, sample())
	s := openOriginal(t, buildTarget(t, there, nil, "-buildvcs=false", "-ldflags=-s -w"))
	r := s.recipe(t)
	r.Toolchain = sibling(t, r.Toolchain)
	wantError(t, r, there, s, diag.TwinDiffers, "first in runtime.", "another toolchain")
}

// sibling returns another patch version of Go than that one, far from it, since
// neighbours may compile a small program alike but for the version in it. The
// go command must be able to fetch it.
func sibling(t *testing.T, version string) string {
	t.Helper()
	parts := strings.Split(version, ".") // go1, 26, 8
	if len(parts) != 3 {
		t.Fatalf("%s is no release of Go", version)
	}
	patch := "0"
	if parts[2] == patch {
		patch = "1"
	}
	other := parts[0] + "." + parts[1] + "." + patch
	cmd := exec.Command("go", "version")
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "GOTOOLCHAIN="+other)
	if out, err := cmd.CombinedOutput(); err != nil {
		testenv.Skipf(t, "%s can't be had: %v\n%s", other, err, out)
	}
	return other
}

// TestLinkFlags builds the twins of programs that don't record what -X has set:
// from what the program shows, and from what the user says.
func TestLinkFlags(t *testing.T) {
	there := t.TempDir()
	files := sample()
	files["cmd/m/main.go"] = strings.Replace(files["cmd/m/main.go"], "var version", "var commit, unset string\n\nvar version", 1)
	files["cmd/m/main.go"] = strings.Replace(files["cmd/m/main.go"], "println(version", "println(commit, unset, version", 1)
	writeTree(t, there, files)
	for _, flags := range [][]string{{}, {"-buildmode=pie"}} {
		s := openOriginal(t, buildTarget(t, there, nil, append(flags, "-buildvcs=false", "-trimpath", "-ldflags=-s -w -X main.version=v9 -X 'main.commit=it is a longer one'")...))
		k := checkTwin(t, s, there)
		checkShell(t, s, there, k.LDFlags)
		b := newBuilder(t)
		b.LDFlags = "-s -X main.version=v9 -X 'main.commit=it is a longer one'"
		if _, err := b.Build(t.Context(), s.recipe(t), there, s); err != nil {
			t.Error(err)
		}
		b.LDFlags = "-X main.version=v8"
		if _, err := b.Build(t.Context(), s.recipe(t), there, s); diag.CodeOf(err) != diag.TwinDiffers {
			t.Error(err)
		}
	}
}

// TestBuildFails hands on what the toolchain says.
func TestBuildFails(t *testing.T) {
	there, here := t.TempDir(), t.TempDir()
	writeTree(t, there, sample())
	s := openOriginal(t, buildTarget(t, there, nil, "-buildvcs=false", "-ldflags=-s -w"))
	files := sample()
	files["cmd/m/main.go"] += "\nfunc broken() { return 1 }\n"
	writeTree(t, here, files)
	wantError(t, s.recipe(t), here, s, diag.TwinBuild, "too many return values")
	wantError(t, s.recipe(t), t.TempDir(), s, diag.TwinBuild, "is not in the source of the target's module example.com/m")
	r := s.recipe(t)
	r.Toolchain = "go1.21.99"
	wantError(t, r, there, s, diag.TwinBuild, "can't be had")
}

// wantError builds a twin and wants it to fail, and to leave nothing.
func wantError(t *testing.T, r *recipe.Recipe, dir string, s localOriginal, code diag.Code, texts ...string) {
	t.Helper()
	b := newBuilder(t)
	k, err := b.Build(t.Context(), r, dir, s)
	if diag.CodeOf(err) != code {
		t.Errorf("%+v, %v; want the error %s", k, err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v; want %q", err, text)
		}
	}
	checkNoWork(t, b)
}

// TestCancelled ends a build in its middle: nothing is left, neither files nor
// processes.
func TestCancelled(t *testing.T) {
	there := t.TempDir()
	writeTree(t, there, sample())
	s := openOriginal(t, buildTarget(t, there, nil, "-buildvcs=false", "-ldflags=-s -w"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBuilder(t)
	b.Dir = t.TempDir() // an empty build cache: it takes a while
	b.Progress = func(s Step) {
		if s.Phase == Packages && s.Done == 2 {
			cancel()
		}
	}
	_, err := b.Build(ctx, s.recipe(t), there, s)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	checkNoWork(t, b)
	if _, err := os.Stat(filepath.Join(b.Dir, "kept")); err == nil {
		t.Error("something was kept")
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		if env, err := os.ReadFile(path); err == nil && strings.Contains(string(env), b.Dir) {
			t.Errorf("a process of the build is left: %s", path)
		}
	}
	removeAll(b.Dir)
}

// TestToolVersion: by its answer the go command knows whether what it has in its
// cache was compiled as the tool would now.
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
		var said strings.Builder
		if status, err := RunTool(tool, tt.rules, tt.goroot, os.Environ(), &said, os.Stderr); status != 0 || err != nil {
			t.Fatal(status, err)
		}
		if got := said.String(); (got == string(plain)) != tt.same || !strings.HasPrefix(got, strings.TrimSpace(string(plain))) {
			t.Errorf("%s with %q, %q says %q, by itself %q", tt.name, tt.rules, tt.goroot, got, plain)
		}
	}
}
