package getsource

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// newProxy has the go command use a proxy in a directory, and returns the directory.
func newProxy(t *testing.T) string {
	t.Helper()
	proxy := tempDir(t)
	for name, value := range map[string]string{"GOPROXY": "file://" + filepath.ToSlash(proxy), "GOMODCACHE": filepath.Join(tempDir(t), "mod"), "GONOSUMDB": "example.com", "GOFLAGS": "-modcacherw"} {
		t.Setenv(name, value)
	}
	t.Cleanup(func() {
		cmd := exec.Command("go", "clean", "-modcache")
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go clean: %v\n%s", err, out)
		}
	})
	return proxy
}

// publish puts a module at a proxy, and returns its lines in go.sum.
func publish(t *testing.T, proxy string, m module.Version, files map[string]string) (sums string) {
	t.Helper()
	at := filepath.Join(proxy, filepath.FromSlash(m.Path), "@v")
	writeTree(t, at, map[string]string{m.Version + ".mod": files["go.mod"], m.Version + ".info": `{"Version":"` + m.Version + `"}`})
	name := filepath.Join(at, m.Version+".zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for name, text := range files {
		out, err := w.Create(m.String() + "/" + name)
		if err == nil {
			_, err = io.WriteString(out, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(filepath.Join(at, m.Version+".mod")) })
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", m.Path, m.Version, whole, mod)
}

func prog() module.Version { return module.Version{Path: "example.com/prog/v2", Version: "v2.3.4"} }

// TestVersion gets a writable copy of a published version, if there is no clone.
func TestVersion(t *testing.T) {
	files := map[string]string{"go.mod": "module example.com/prog/v2\n\ngo 1.21\n", "main.go": "package main\n", "sub/a.go": "package sub\n"}
	sum := strings.Fields(publish(t, newProxy(t), prog(), files))[2]
	workspace := filepath.Join(tempDir(t), "mine")
	writeTree(t, workspace, map[string]string{"go.mod": "module example.com/mine\n", "sub/x.go": "package sub\n"})
	release, installed := newOrigin(strings.Repeat("1", 40), "v2.3.4"), newOrigin("", "v2.3.4")
	installed.Settings, installed.MainSum = nil, sum
	for name, o := range map[string]*exe.Origin{"release": release, "installed": installed} {
		t.Run(name, func(t *testing.T) {
			c := Config{Root: filepath.Join(workspace, "sub")}
			r := get(t, c, o)
			want := filepath.Join(filepath.Dir(workspace), "prog@v2.3.4")
			testenv.Equal(t, "the directory", r.Dir, want)
			testenv.Equal(t, "created", r.Created, true)
			testenv.Equal(t, "its files", listFiles(t, want), []string{markFile, "go.mod", "main.go", "sub/a.go"})
			testenv.WriteFile(t, filepath.Join(want, "sub", "a.go"), "package sub // changed\n")
			testenv.Equal(t, "created again", get(t, c, o).Created, false)
			testenv.WriteFile(t, filepath.Join(want, markFile), `{"module":"example.com/prog/v2","version":"v2.3.5"}`)
			checkRefused(t, c, o, diag.SourceExists, "exists")
			if err := os.RemoveAll(want); err != nil {
				t.Fatal(err)
			}
		})
	}
	installed.MainSum = "h1:" + strings.Repeat("A", 43) + "="
	checkRefused(t, Config{Root: workspace}, installed, diag.SourceUnknown, "its checksum is", installed.MainSum)
	inCache := filepath.Join(os.Getenv("GOMODCACHE"), "example.com", "prog", "v2@v2.3.4")
	checkRefused(t, Config{Root: inCache}, release, diag.SourceExists, "is in the module cache", "--to")
	entries, err := os.ReadDir(filepath.Dir(workspace))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v was left beside the workspace, %v", entries, err)
	}
}

// TestVendoredVersion vendors the dependencies of a published version if those of the
// build were.
func TestVendoredVersion(t *testing.T) {
	proxy := newProxy(t)
	sums := publish(t, proxy, module.Version{Path: "example.com/dep", Version: "v1.0.0"}, map[string]string{"go.mod": "module example.com/dep\n", "dep.go": "package dep\n"})
	files := map[string]string{
		"go.mod":  "module example.com/prog/v2\n\ngo 1.21\n\nrequire example.com/dep v1.0.0\n",
		"main.go": "package main\n\nimport _ \"example.com/dep\"\n",
	}
	publish(t, proxy, prog(), files)
	o := newOrigin(strings.Repeat("1", 40), "v2.3.4")
	o.GoVersion = "go1.20" // so that the installed Go vendors
	o.Roots = exe.Roots{Module: "/build", Vendor: true}
	to := filepath.Join(tempDir(t), "to")
	checkRefused(t, Config{Root: tempDir(t), To: to}, o, diag.SourceUnknown, "go mod vendor", "go.sum")
	if _, err := os.Lstat(to); err == nil {
		t.Error("an incomplete copy was left")
	}
	proxy = newProxy(t)
	publish(t, proxy, module.Version{Path: "example.com/dep", Version: "v1.0.0"}, map[string]string{"go.mod": "module example.com/dep\n", "dep.go": "package dep\n"})
	files["go.sum"] = sums
	publish(t, proxy, prog(), files)
	r := get(t, Config{Root: tempDir(t), To: to}, o)
	testenv.Equal(t, "dep.go", testenv.ReadFile(t, filepath.Join(r.Dir, "vendor", "example.com", "dep", "dep.go")), "package dep\n")
}
