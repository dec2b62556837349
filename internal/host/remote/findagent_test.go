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
	"slices"
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

// checkMissing checks that no agent is found for the architecture, and that error and
// hint contain the parts.
func checkMissing(t *testing.T, s remote.AgentSource, arch string, parts ...string) {
	t.Helper()
	b, err := s.Find(t.Context(), arch)
	if diag.CodeOf(err) != diag.AgentMissing {
		t.Fatalf("got %+v, %v, want code %s", b, err, diag.AgentMissing)
	}
	if got := diag.Exit(err); got != 5 {
		t.Errorf("exit status %d, want 5", got)
	}
	text := err.Error() + "; hint: " + diag.Hint(err)
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not contain %q", text, p)
		}
	}
}

// checkFound checks which agent is found, and that a node that has it needs no upload.
func checkFound(t *testing.T, s remote.AgentSource, arch, path string) {
	t.Helper()
	b, err := s.Find(t.Context(), arch)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := (remote.Binary{Path: path, Hash: fmt.Sprintf("%x", sha256.Sum256(data)), Arch: arch}); b != want {
		t.Errorf("got %+v, want %+v", b, want)
	}
	if all := s.Hashes(); !slices.Contains(all, b.Hash) {
		t.Errorf("the hashes %q lack %s", all, b.Hash)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	static := buildProgram(t, filepath.Join(dir, "static"), "linux", "amd64")
	arm := buildProgram(t, filepath.Join(dir, "arm"), "linux", "arm64")
	mac := buildProgram(t, filepath.Join(dir, "mac"), "darwin", "arm64")
	dynamic := buildProgram(t, filepath.Join(dir, "dynamic"), "linux", "amd64", "-buildmode=pie")
	text := filepath.Join(dir, "text")
	testenv.WriteFile(t, text, "#!/bin/sh\n")
	nothing := filepath.Join(dir, "nothing")
	t.Setenv("PATH", dir) // nothing can be built
	cache := filepath.Join(dir, "cache")

	t.Run("this program", func(t *testing.T) {
		checkFound(t, remote.AgentSource{Self: static, CacheDir: cache}, "amd64", static)
		checkFound(t, remote.AgentSource{Self: arm, CacheDir: cache}, "arm64", arm)
		for _, self := range []string{arm, mac, text, dynamic, nothing} {
			checkMissing(t, remote.AgentSource{Self: self, CacheDir: cache}, "amd64", "linux/amd64", "make build")
		}
	})
	t.Run("named", func(t *testing.T) {
		checkFound(t, remote.AgentSource{Self: mac, File: static}, "amd64", static)
		checkFound(t, remote.AgentSource{Self: mac, File: arm}, "arm64", arm) // whatever the host is
		checkMissing(t, remote.AgentSource{Self: mac, File: arm}, "amd64", arm, "--agent", "GOARCH=amd64")
		for _, file := range []string{mac, text, dynamic, nothing} {
			s := remote.AgentSource{Self: static, File: file}
			checkMissing(t, s, "amd64", file)
			testenv.Equal(t, "hashes", len(s.Hashes()), 0)
		}
	})
}

// The agents that were built with a program are known by their digests: no other file
// takes their place.
func TestBuiltWith(t *testing.T) {
	dir := t.TempDir()
	self := buildProgram(t, filepath.Join(dir, "dapbridge"), "linux", "amd64")
	arm := buildProgram(t, filepath.Join(dir, "dapbridge-linux-arm64"), "linux", "arm64")
	t.Setenv("PATH", dir)
	hash := sha256Of(t, arm)
	s := remote.AgentSource{Self: self, CacheDir: filepath.Join(dir, "cache"), Built: map[string]string{"arm64": hash}}
	checkFound(t, s, "arm64", arm)
	testenv.Equal(t, "hashes", s.Hashes(), []string{sha256Of(t, self), hash})

	testenv.WriteFile(t, arm, testenv.ReadFile(t, arm)+"another build")
	checkMissing(t, s, "arm64", arm+" was not built with this program", "make build")
	s.Version = "v1.2.3" // no version that the file could have makes up for that
	checkMissing(t, s, "arm64", arm+" was not built with this program", "releases/download/v1.2.3/dapbridge-v1.2.3-"+runtime.GOOS+"-"+runtime.GOARCH+".tar.gz | tar -xzC "+dir)
	if err := os.Remove(arm); err != nil {
		t.Fatal(err)
	}
	checkMissing(t, s, "arm64", "there is no "+arm)
	if all := s.Hashes(); !slices.Contains(all, hash) {
		t.Errorf("the hashes %q lack that of an agent that the node may still have", all)
	}
}

// A file beside a program that knows no digests must name the same version.
func TestSameVersion(t *testing.T) {
	dir := t.TempDir()
	writeProxy(t, filepath.Join(dir, "proxy"), "v1.2.3")
	useProxy(t, dir)
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	install := exec.Command("go", "install", "github.com/dapbridge/dapbridge/cmd/dapbridge@v1.2.3")
	install.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS=linux", "GOARCH="+other, "GOPATH="+dir, "GOBIN=")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("PATH", dir)
	bin := filepath.Join(dir, "bin")
	installed := filepath.Join(bin, "linux_"+other, "dapbridge")
	s := remote.AgentSource{Self: filepath.Join(bin, "dapbridge"), Version: "v1.2.3", Sum: "h1:x", CacheDir: filepath.Join(dir, "cache")}
	checkFound(t, s, other, installed)
	beside := filepath.Join(bin, "dapbridge-linux-"+other)
	if err := os.Rename(installed, beside); err != nil {
		t.Fatal(err)
	}
	checkFound(t, s, other, beside)
	for _, version := range []string{"v1.2.4", "(devel)", "", "v1.2.3+dirty"} {
		s.Version = version
		checkMissing(t, s, other, "is not known to be of this program's version", "v1.2.3", "go install")
	}
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
		checkMissing(t, remote.AgentSource{Self: filepath.Join(dir, name), CacheDir: filepath.Join(dir, "cache")}, "amd64")
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
	s := remote.AgentSource{Self: self, CacheDir: cache, Version: "(devel)"}
	b, err := s.Find(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	checkFound(t, s, runtime.GOARCH, b.Path) // in the cache: Go is not in PATH any more
	if files, _ := filepath.Glob(filepath.Join(cache, "*")); len(files) != 1 {
		t.Errorf("the cache has %q, want one file", files)
	}
	if err := os.WriteFile(self, []byte("built anew"), 0o700); err != nil {
		t.Fatal(err)
	}
	checkMissing(t, s, runtime.GOARCH)
}

// A program from the module cache, or a release, has its agent built from exactly that
// version of the module.
func TestBuildVersion(t *testing.T) {
	const version = "v0.0.1"
	dir := t.TempDir()
	writeProxy(t, filepath.Join(dir, "proxy"), version)
	useProxy(t, dir)
	self := filepath.Join(dir, "self")
	testenv.WriteFile(t, self, "")
	s := remote.AgentSource{Self: self, CacheDir: filepath.Join(dir, "cache"), Version: version}
	b, err := s.Find(t.Context(), "arm64")
	if err != nil {
		t.Fatal(err)
	}
	checkFound(t, s, "arm64", b.Path)
	if !strings.Contains(testenv.ReadFile(t, b.Path), version) {
		t.Errorf("the agent does not contain its version %s", version)
	}

	s.Sum = "h1:another"
	checkMissing(t, s, "amd64", "this program was built from h1:another")
	s.Version = "v0.0.2"
	checkMissing(t, s, "amd64", "v0.0.2", "CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go install -trimpath github.com/dapbridge/dapbridge/cmd/dapbridge@v0.0.2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Version, s.Sum = version, ""
	if _, err := s.Find(ctx, "amd64"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v, want %v", err, context.Canceled)
	}
}

// useProxy has the go command take modules from the proxy in dir, and keep them there.
func useProxy(t *testing.T, dir string) {
	t.Helper()
	for name, value := range map[string]string{
		"GOPROXY": "file://" + filepath.ToSlash(filepath.Join(dir, "proxy")), "GOMODCACHE": filepath.Join(dir, "mod"),
		"GONOSUMDB": "*", "GOTOOLCHAIN": "local",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(func() { _ = exec.Command("go", "clean", "-modcache").Run() }) // it is read-only; the variables are still set
}

func sha256Of(t *testing.T, path string) string {
	t.Helper()
	return fmt.Sprintf("%x", sha256.Sum256([]byte(testenv.ReadFile(t, path))))
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
