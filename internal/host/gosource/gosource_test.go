package gosource_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "// a comment\nmodule example.com/outer/v2\n")
	testenv.WriteFile(t, filepath.Join(root, "api", "go.mod"), "module \"example.com/api\"\n")
	testenv.WriteFile(t, filepath.Join(root, "cmd", "x", "main.go"), "package main\n")
	for dir, want := range map[string]gosource.Module{
		".":     {Root: root, Path: "example.com/outer/v2"},
		"cmd/x": {Root: root, Path: "example.com/outer/v2"},
		"api":   {Root: filepath.Join(root, "api"), Path: "example.com/api"},
	} {
		got, err := gosource.Find(filepath.Join(root, dir))
		if err != nil {
			t.Errorf("Find(%s): %v", dir, err)
			continue
		}
		if got.Root != want.Root || got.Path != want.Path {
			t.Errorf("Find(%s) = %s in %s, want %s in %s", dir, got.Path, got.Root, want.Path, want.Root)
		}
	}
}

func TestFindNone(t *testing.T) {
	if _, err := gosource.Find("/"); !errors.Is(err, gosource.ErrNoModule) {
		t.Errorf("at the root: %v", err)
	}
	dir := t.TempDir()
	testenv.WriteFile(t, filepath.Join(dir, "go.mod"), "go 1.26\n")
	if _, err := gosource.Find(dir); err == nil {
		t.Error("a go.mod without a module directive is accepted")
	}
}

// TestRead finds all modules of a workspace with their replacements and vendored
// modules, and reads go env.
func TestRead(t *testing.T) {
	root := t.TempDir()
	testenv.WriteFile(t, filepath.Join(root, "app", "go.mod"), "module example.com/app\n\nrequire example.com/a v1.0.0\n\nreplace example.com/lib => ../lib\nreplace example.com/a v1.0.0 => example.com/b v1.2.3\n")
	testenv.WriteFile(t, filepath.Join(root, "app", "api", "go.mod"), "module example.com/app/api\n")
	testenv.WriteFile(t, filepath.Join(root, "app", "broken", "go.mod"), "module example.com/broken\n\nnonsense\n")
	for _, ignored := range []string{"vendor/example.com/a", "testdata", "_old", ".cache/x", "node_modules/y"} {
		testenv.WriteFile(t, filepath.Join(root, "app", ignored, "go.mod"), "module example.com/ignored\n")
	}
	testenv.WriteFile(t, filepath.Join(root, "app", "vendor", "modules.txt"), "# example.com/a v1.0.0 => example.com/b v1.2.3\n## explicit; go 1.25\nexample.com/a/x\n# example.com/lib v0.0.0 => ../lib\n# example.com/c v1.5.0\n")
	testenv.WriteFile(t, filepath.Join(root, "lib", "go.mod"), "module example.com/lib\n")
	testenv.WriteFile(t, filepath.Join(root, "go.work"), "go 1.25\n\nuse ./app\nuse ./lib\nuse ./gone\n\nreplace example.com/w => /elsewhere\n")
	t.Setenv("GOWORK", "")
	s, err := gosource.Read(t.Context(), filepath.Join(root, "app"))
	if err != nil || s.Problem != nil {
		t.Fatal(err, s.Problem)
	}
	var got []string
	for _, m := range s.Modules {
		got = append(got, m.Path)
	}
	if want := []string{"example.com/app", "example.com/lib", "example.com/app/api", "example.com/broken"}; !slices.Equal(got, want) {
		t.Errorf("modules %v, want %v", got, want)
	}
	app := s.Modules[0]
	want := []gosource.Replacement{
		{module.Version{Path: "example.com/lib"}, module.Version{Path: filepath.Join(root, "lib")}},
		{module.Version{Path: "example.com/a", Version: "v1.0.0"}, module.Version{Path: "example.com/b", Version: "v1.2.3"}},
		{module.Version{Path: "example.com/w"}, module.Version{Path: "/elsewhere"}},
	}
	if !slices.Equal(app.Replace, want) {
		t.Errorf("replace %v, want %v", app.Replace, want)
	}
	if got, want := app.VendorDir, filepath.Join(root, "app", "vendor"); got != want {
		t.Errorf("vendor directory %s, want %s", got, want)
	}
	if len(app.Vendor) != 3 {
		t.Fatalf("%d vendored modules, want 3: %v", len(app.Vendor), app.Vendor)
	}
	if got := app.Vendor[0].Replace; got == nil || *got != want[1].New {
		t.Errorf("%s is replaced by %v, want %v", app.Vendor[0].Path, got, want[1].New)
	}
	if got := app.Vendor[2].Replace; got != nil {
		t.Errorf("%s is replaced by %v, want no replacement", app.Vendor[2].Path, got)
	}
	if s.Env.GOVERSION == "" || s.Env.GOMODCACHE == "" {
		t.Errorf("go env lacks GOVERSION or GOMODCACHE: %+v", s.Env)
	}
	if !gosource.Exists(filepath.Join(s.Env.GOROOT, "src", "runtime", "proc.go")) {
		t.Errorf("GOROOT %q does not hold the standard library", s.Env.GOROOT)
	}
}

// TestReadRunsNoOtherToolchain reads a workspace that asks for a toolchain that does
// not exist.
func TestReadRunsNoOtherToolchain(t *testing.T) {
	root := t.TempDir()
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "module example.com/app\n\ngo 1.99\n\ntoolchain go1.99.9\n")
	t.Setenv("GOTOOLCHAIN", "auto")
	t.Setenv("GOPROXY", "off")
	s, err := gosource.Read(t.Context(), root)
	if err != nil || s.Problem != nil {
		t.Fatal(err, s.Problem)
	}
	if v := s.Env.GOVERSION; v == "go1.99.9" {
		t.Errorf("the workspace's toolchain %s ran", v)
	}
	if s.Env.GOROOT == "" {
		t.Error("go env has no GOROOT")
	}
}

// TestReadWithoutGo finds the module without a go command, and reports the problem.
func TestReadWithoutGo(t *testing.T) {
	root := t.TempDir()
	testenv.WriteFile(t, filepath.Join(root, "go.mod"), "module example.com/app\n")
	t.Setenv("PATH", root)
	s, err := gosource.Read(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if s.Problem == nil {
		t.Error("the missing go command is not reported as a problem")
	}
	if len(s.Modules) != 1 {
		t.Errorf("modules %v, want one", s.Modules)
	}
}

func TestReal(t *testing.T) {
	dir := gosource.RealPath(t.TempDir())
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		testenv.Skipf(t, "symbolic links are not supported: %v", err)
	}
	if got := gosource.RealPath(filepath.Join(link, "link")); got != dir {
		t.Errorf("got %s, want %s", got, dir)
	}
	gone := filepath.Join(dir, "gone")
	if got := gosource.RealPath(gone); got != gone {
		t.Errorf("RealPath of a missing file is %s, want %s", got, gone)
	}
	if gosource.Exists(gone) {
		t.Errorf("Exists reports true for the missing %s", gone)
	}
	if !gosource.Exists(link) {
		t.Errorf("Exists reports false for the link %s", link)
	}
}
