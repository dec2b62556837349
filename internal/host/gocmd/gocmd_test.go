package gocmd

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// newGo returns the installed Go, with its own module cache and the module
// example.com/Upper@v1.0.0 at a proxy in a directory.
func newGo(t *testing.T, env ...string) (*Go, module.Version) {
	t.Helper()
	m := module.Version{Path: "example.com/Upper", Version: "v1.0.0"}
	proxy := t.TempDir()
	at := filepath.Join(proxy, "example.com", "!upper", "@v")
	const mod = "module example.com/Upper\n\ngo 1.21\n"
	testenv.WriteFile(t, filepath.Join(at, "v1.0.0.mod"), mod)
	testenv.WriteFile(t, filepath.Join(at, "v1.0.0.info"), `{"Version":"v1.0.0"}`)
	f, err := os.Create(filepath.Join(at, "v1.0.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for name, text := range map[string]string{"go.mod": mod, "a.go": "package upper\n", "sub/b.go": "package sub\n"} {
		out, err := w.Create(m.String() + "/" + name)
		if err == nil {
			_, err = out.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "mod")
	env = slices.Concat(os.Environ(), []string{"GOENV=off", "GOFLAGS=-modcacherw", "GOMODCACHE=" + cache, "GOPROXY=file://" + filepath.ToSlash(proxy) + ",direct", "GONOSUMDB=example.com"}, env)
	g, err := New(t.Context(), env, "local", t.TempDir(), "GOCACHE="+filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Run(t.Context(), t.TempDir(), "clean", "-modcache") })
	return g, m
}

// TestCopyModule copies a module from a proxy, and once more when only the cache has it.
func TestCopyModule(t *testing.T) {
	g, m := newGo(t)
	if g.HasModule(m) {
		t.Error("an empty cache has the module")
	}
	first, second := filepath.Join(t.TempDir(), "m"), filepath.Join(t.TempDir(), "m")
	if err := g.CopyModule(t.Context(), m, first); err != nil {
		t.Fatal(err)
	}
	if !g.HasModule(m) {
		t.Error("the cache lacks the module")
	}
	g.Env = append(g.Env, "GOPROXY=off")
	if err := g.CopyModule(t.Context(), m, second); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{first, second} {
		testenv.Equal(t, "a.go", testenv.ReadFile(t, filepath.Join(dir, "a.go")), "package upper\n")
		testenv.WriteFile(t, filepath.Join(dir, "sub", "b.go"), "changed")
		testenv.WriteFile(t, filepath.Join(dir, "sub", "new.go"), "new")
	}
	testenv.WriteFile(t, filepath.Join(g.Cache, "cache", "download", "example.com", "!upper", "@v", "v1.0.0.partial"), "")
	if g.HasModule(m) {
		t.Error("a module that is being extracted counts as there")
	}
	m.Version = "v9.9.9"
	if err := g.CopyModule(t.Context(), m, filepath.Join(t.TempDir(), "m")); err == nil || !strings.Contains(err.Error(), m.String()) {
		t.Errorf("error %v, want one about %s", err, m)
	}
}

// TestEnvironment checks that neither the user's environment nor the working directory
// changes what is built, and that nothing but a proxy is asked.
func TestEnvironment(t *testing.T) {
	g, _ := newGo(t, "GOWORK=/x/go.work", "GOARCH=mips", "CGO_CFLAGS=-evil", "GIT_DIR=/x", "GOTOOLCHAIN=go1.99.0")
	got, err := g.Getenv(t.Context(), t.TempDir(), "GOWORK", "GOARCH", "CGO_CFLAGS", "GOVCS", "GOFLAGS", "GOPROXY", "GOMODCACHE")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got["GOPROXY"], "direct") {
		t.Errorf("GOPROXY is %q, want no direct access", got["GOPROXY"])
	}
	testenv.Equal(t, "GOMODCACHE", got["GOMODCACHE"], g.Cache)
	for name, want := range map[string]string{"GOWORK": "off", "GOARCH": runtime.GOARCH, "CGO_CFLAGS": "-O2 -g", "GOVCS": "*:off", "GOFLAGS": ""} {
		testenv.Equal(t, name, got[name], want)
	}
	if slices.Contains(g.Env, "GIT_DIR=/x") {
		t.Error("GIT_DIR is passed on")
	}
	if _, err := New(t.Context(), append(os.Environ(), "GOPROXY=off"), "go1.21.99", t.TempDir()); !errors.Is(err, ErrNoToolchain) {
		t.Errorf("error %v, want ErrNoToolchain", err)
	}
	t.Setenv("PATH", "")
	if _, err := New(t.Context(), os.Environ(), "local", t.TempDir()); !errors.Is(err, ErrNoGo) {
		t.Errorf("error %v, want ErrNoGo", err)
	}
}

func TestProxies(t *testing.T) {
	for list, want := range map[string]string{
		"https://a,direct": "https://a", "direct": "off", "": "off", "off": "off",
		"https://a|https://b,direct": "https://a|https://b", "direct,https://a": "https://a",
	} {
		testenv.Equal(t, "what is left of "+list, proxies(list), want)
	}
}

// TestCopyTree leaves out .git and one directory, and copies links as links.
func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	for _, name := range []string{"a", ".git/config", "sub/.git", "sub/b", "cache/c"} {
		testenv.WriteFile(t, filepath.Join(from, name), name)
	}
	if err := os.Symlink("a", filepath.Join(from, "link")); err != nil {
		testenv.Skipf(t, "no symbolic links: %v", err)
	}
	if err := CopyTree(t.Context(), from, to, filepath.Join(from, "cache")); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(to, path)
		got = append(got, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Equal(t, "the copy", got, []string{".", "a", "link", "sub", "sub/b"})
	if dest, err := os.Readlink(filepath.Join(to, "link")); dest != "a" {
		t.Errorf("the link leads to %q, %v", dest, err)
	}
}
