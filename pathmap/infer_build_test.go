package pathmap

import (
	"archive/zip"
	"debug/buildinfo"
	"debug/elf"
	"debug/gosym"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInferFromBuilds infers the rule from what the Go toolchain writes into
// binaries, for the ways in which people build.
func TestInferFromBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("runs go build")
	}
	const module = "example.com/app/v2"
	src, cache, proxy := t.TempDir(), t.TempDir(), t.TempDir()
	writeModule(t, src, module)
	writeProxy(t, proxy, src, module, "v2.3.4")
	gopath := t.TempDir()
	legacy := filepath.Join(gopath, "src/example.com/app")
	writeModule(t, legacy, "example.com/app")
	download := []string{"GOFLAGS=-modcacherw", "GOMODCACHE=" + cache, "GOPROXY=file://" + filepath.ToSlash(proxy), "GOSUMDB=off"}

	for _, c := range []struct {
		name string
		dir  string
		env  []string
		args []string
		ws   Workspace
		node string // "" if there is no rule
	}{
		{"plain", src, nil, []string{"build", "./cmd/x"}, Workspace{"/ws", module}, src},
		{"main in the root", src, nil, []string{"build", "."}, Workspace{"/ws", module}, src},
		{"trimpath", src, nil, []string{"build", "-trimpath", "./cmd/x"}, Workspace{"/ws", module}, module},
		{"pie", src, nil, []string{"build", "-buildmode=pie", "-gcflags=all=-N -l", "./cmd/x"}, Workspace{"/ws", module}, src},
		{"files", src, nil, []string{"build", "./cmd/x/main.go"}, Workspace{"/ws", module}, ""},
		{"version", src, download, []string{"install", module + "/cmd/x@v2.3.4"}, Workspace{"/ws", module}, filepath.Join(cache, module+"@v2.3.4")},
		{"trimmed version", src, download, []string{"install", "-trimpath", module + "/cmd/x@v2.3.4"}, Workspace{"/ws", module}, module + "@v2.3.4"},
		{"GOPATH", legacy, []string{"GO111MODULE=off", "GOPATH=" + gopath}, []string{"build", "./cmd/x"}, Workspace{"/ws", "example.com/app"}, legacy},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := build(t, c.dir, c.env, c.args)
			rules, reason := Infer(target, []Workspace{c.ws})
			switch {
			case c.node == "" && reason == "":
				t.Errorf("%+v: got %v", target, rules)
			case c.node != "" && (len(rules) != 1 || rules[0].Host != c.ws.Root || rules[0].Node != filepath.ToSlash(c.node)):
				t.Errorf("%+v: got %v, %q, want %s", target, rules, reason, c.node)
			}
		})
	}
}

// writeModule writes a module with a main package in its root and in cmd/x.
func writeModule(t *testing.T, dir, module string) {
	t.Helper()
	for name, text := range map[string]string{
		"go.mod":        "module " + module + "\n\ngo 1.25\n",
		"main.go":       "package main\n\nfunc main() {}\n",
		"cmd/x/main.go": "package main\n\nfunc main() {}\n",
	} {
		writeFile(t, filepath.Join(dir, name), []byte(text))
	}
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeProxy makes dir a module proxy (go.dev/ref/mod, GOPROXY protocol) that
// has the module in src.
func writeProxy(t *testing.T, dir, src, module, version string) {
	t.Helper()
	at := filepath.Join(dir, module, "@v")
	writeFile(t, filepath.Join(at, "list"), []byte(version+"\n"))
	writeFile(t, filepath.Join(at, version+".info"), []byte(`{"Version":"`+version+`"}`))
	mod, err := os.ReadFile(filepath.Join(src, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(at, version+".mod"), mod)
	var archive strings.Builder
	z := zip.NewWriter(&archive)
	for _, name := range []string{"go.mod", "main.go", "cmd/x/main.go"} {
		data, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		w, err := z.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(at, version+".zip"), []byte(archive.String()))
}

// build runs go and returns what the binary says.
func build(t *testing.T, dir string, env, args []string) Target {
	t.Helper()
	bin := t.TempDir()
	if args[0] == "build" {
		args = append([]string{"build", "-o", filepath.Join(bin, "x")}, args[1:]...)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS=linux", "GOARCH=amd64", "GOBIN="+bin)
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return describe(t, filepath.Join(bin, "x"))
}

func describe(t *testing.T, file string) Target {
	t.Helper()
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := f.Section(".gopclntab")
	if section == nil {
		section = f.Section(".data.rel.ro.gopclntab")
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, f.Section(".text").Addr))
	if err != nil {
		t.Fatal(err)
	}
	fn := table.LookupFunc("main.main")
	if fn == nil {
		t.Fatal("no main.main")
	}
	source, _, _ := table.PCToLine(fn.Entry)
	return Target{ModulePath: info.Main.Path, MainPackage: info.Path, MainFile: source}
}
