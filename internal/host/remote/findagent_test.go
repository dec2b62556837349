package remote_test

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// buildProgram builds a small program.
func buildProgram(t *testing.T, path, goos, goarch string, flags ...string) string {
	t.Helper()
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./testdata/standin")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS="+goos, "GOARCH="+goarch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func checkMissing(t *testing.T, o remote.AgentOptions, parts ...string) {
	t.Helper()
	_, err := remote.FindAgent(t.Context(), o)
	if diag.CodeOf(err) != diag.AgentMissing {
		t.Fatalf("%v, want code %s", err, diag.AgentMissing)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not contain %q", err, p)
		}
	}
}

func checkFound(t *testing.T, o remote.AgentOptions, path string) {
	t.Helper()
	b, err := remote.FindAgent(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := (remote.Binary{Path: path, Hash: fmt.Sprintf("%x", sha256.Sum256(data)), OS: o.OS, Arch: o.Arch}); b != want {
		t.Errorf("got %+v, want %+v", b, want)
	}
}

func copyFile(t *testing.T, from, to string) string {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestFindAgent(t *testing.T) {
	dir := t.TempDir()
	static := buildProgram(t, filepath.Join(dir, "static"), "linux", "amd64")
	arm := buildProgram(t, filepath.Join(dir, "arm"), "linux", "arm64")
	mac := buildProgram(t, filepath.Join(dir, "mac"), "darwin", "arm64")
	dynamic := buildProgram(t, filepath.Join(dir, "dynamic"), "linux", "amd64", "-buildmode=pie")
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir) // nothing can be built
	o := remote.AgentOptions{Self: static, OS: "linux", Arch: "amd64", CacheDir: filepath.Join(dir, "cache")}
	checkFound(t, o, static)
	for _, self := range []string{arm, mac, text, dynamic, filepath.Join(dir, "nothing")} {
		o.Self = self
		checkMissing(t, o, "linux/amd64")
	}
	o.Explicit = static
	checkFound(t, o, static)
	for _, file := range []string{arm, mac, text, dynamic, filepath.Join(dir, "nothing")} {
		o.Explicit = file
		checkMissing(t, o, file)
	}
	o.Explicit, o.Self = "", mac
	beside := copyFile(t, static, filepath.Join(dir, "dapbridge-linux-amd64"))
	checkFound(t, o, beside)
	o.Arch = "arm64"
	checkMissing(t, o, "linux/arm64")
	o.Self = arm
	checkFound(t, o, arm)
}

// A go command in the current directory is never run.
func TestNoGoFromHere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	name := "go"
	if runtime.GOOS == "windows" {
		name = "go.bat"
	}
	if err := os.WriteFile(name, []byte("#!/bin/sh\ntouch was-run\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{".", "", "." + string(filepath.ListSeparator) + filepath.Join(dir, "none")} {
		t.Setenv("PATH", path)
		self := filepath.Join(dir, name)
		checkMissing(t, remote.AgentOptions{Self: self, OS: "linux", Arch: "amd64", CacheDir: filepath.Join(dir, "cache")})
	}
	if _, err := os.Stat("was-run"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the go in the current directory was run: %v", err)
	}
}

// The agent is built once for each build of this program, whatever the user's
// settings of Go.
func TestBuildAgent(t *testing.T) {
	testenv.SkipShort(t, "it builds the whole program")
	dir := t.TempDir()
	self := filepath.Join(dir, "self")
	if err := os.WriteFile(self, []byte("not a Linux program"), 0o700); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")
	for name, value := range map[string]string{"GOFLAGS": "-mod=vendor -tags=x", "GOOS": "windows", "GOARCH": "386", "GOAMD64": "v4", "CGO_ENABLED": "1", "GOWORK": "/nowhere/go.work"} {
		t.Setenv(name, value)
	}
	o := remote.AgentOptions{Self: self, OS: "linux", Arch: runtime.GOARCH, CacheDir: cache, Version: "(devel)"}
	b, err := remote.FindAgent(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	checkFound(t, o, b.Path) // in the cache: Go is not in PATH any more
	if files, _ := filepath.Glob(filepath.Join(cache, "*")); len(files) != 1 {
		t.Errorf("the cache has %q, want one file", files)
	}
	if err := os.WriteFile(self, []byte("built anew"), 0o700); err != nil {
		t.Fatal(err)
	}
	checkMissing(t, o)
}

// A release is built from the module that the toolchain downloads.
func TestBuildRelease(t *testing.T) {
	const version = "v0.0.1"
	dir := t.TempDir()
	proxy := filepath.Join(dir, "proxy")
	writeProxy(t, proxy, version)
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(proxy))
	t.Setenv("GOMODCACHE", filepath.Join(dir, "mod"))
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GOTOOLCHAIN", "local")
	t.Cleanup(func() { _ = exec.Command("go", "clean", "-modcache").Run() }) // it is read-only; the variables are still set
	self := filepath.Join(dir, "self")
	if err := os.WriteFile(self, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	o := remote.AgentOptions{Self: self, OS: "linux", Arch: "arm64", CacheDir: filepath.Join(dir, "cache"), Version: version}
	b, err := remote.FindAgent(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkFound(t, o, b.Path)
	data, err := os.ReadFile(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), version) {
		t.Errorf("the agent does not contain its version %s", version)
	}
	o.Arch, o.Version = "amd64", "v0.0.2"
	checkMissing(t, o, "v0.0.2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Version = version
	if _, err := remote.FindAgent(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v, want %v", err, context.Canceled)
	}
}

// writeProxy creates a module proxy with one version of a very small dapbridge.
func writeProxy(t *testing.T, dir, version string) {
	t.Helper()
	const module = "github.com/dapbridge/dapbridge"
	at := filepath.Join(dir, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"go.mod":                "module " + module + "\n\ngo 1.26.0\n",
		"cmd/dapbridge/main.go": "package main\n\nvar release string\n\nfunc main() { println(release) }\n",
	}
	f, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, content := range files {
		w, err := z.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close(),
		os.WriteFile(filepath.Join(at, version+".mod"), []byte(files["go.mod"]), 0o600),
		os.WriteFile(filepath.Join(at, version+".info"), []byte(`{"Version":"`+version+`"}`), 0o600),
		os.WriteFile(filepath.Join(at, "list"), []byte(version+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
}
