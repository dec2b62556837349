package gosource_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestFetch downloads with the real go command from a proxy in a directory: only
// what go.sum pins is fetched.
func TestFetch(t *testing.T) {
	proxy, cache, ws := t.TempDir(), t.TempDir(), t.TempDir()
	for name, value := range map[string]string{
		"GOPROXY": "file://" + filepath.ToSlash(proxy) + ",direct", "GOMODCACHE": cache, "GOSUMDB": "off", "GOENV": "off",
		"GOFLAGS": "-mod=vendor -modcacherw", "GOPRIVATE": "example.com/private", "GONOSUMDB": "", "GONOPROXY": "", "GOWORK": "",
	} {
		t.Setenv(name, value)
	}
	sums := publish(t, proxy, "example.com/Good", "v1.0.0") + publish(t, proxy, "example.com/private/x", "v1.0.0") +
		strings.Replace(publish(t, proxy, "example.com/forged", "v1.0.0"), "h1:", "h1:AAAA", 1) +
		"example.com/gone v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	publish(t, proxy, "example.com/unpinned", "v1.0.0")
	testenv.WriteFile(t, filepath.Join(ws, "go.mod"), "module example.com/app\n\ngo 1.25\n")
	testenv.WriteFile(t, filepath.Join(ws, "go.sum"), sums)
	s, err := gosource.Read(t.Context(), ws)
	if err != nil || s.Problem != nil {
		t.Fatal(err, s.Problem)
	}
	want := map[module.Version]string{ // substring of the error; "" for success
		{Path: "example.com/Good", Version: "v1.0.0"}:                          "",
		{Path: "example.com/forged", Version: "v1.0.0"}:                        "checksum mismatch",
		{Path: "example.com/private/x", Version: "v1.0.0"}:                     "private",
		{Path: "example.com/gone", Version: "v1.0.0"}:                          "go mod download",
		{Path: "example.com/unpinned", Version: "v1.0.0"}:                      "not in the workspace's go.sum",
		{Path: "golang.org/toolchain", Version: "v0.0.1-go1.25.1.linux-amd64"}: "checksum database",
	}
	var modules []module.Version
	for m := range want {
		modules = append(modules, m)
	}
	got := map[module.Version]error{}
	gosource.NewFetcher(s).Fetch(t.Context(), modules, func(f gosource.FetchResult) { got[f.Module] = f.Err })
	for m, text := range want {
		switch err, reported := got[m]; {
		case !reported:
			t.Errorf("%s: no result was reported", m)
		case text == "" && err != nil:
			t.Errorf("%s: %v", m, err)
		case text != "" && (err == nil || !strings.Contains(err.Error(), text)):
			t.Errorf("%s: error %v, want %q", m, err, text)
		}
	}
	if !gosource.Exists(filepath.Join(cache, "example.com/!good@v1.0.0/x.go")) {
		t.Error("the module is not in the cache")
	}
	for _, not := range []string{"forged", "unpinned", "private/x"} {
		if gosource.Exists(filepath.Join(cache, "example.com", not+"@v1.0.0")) {
			t.Errorf("%s is in the cache", not)
		}
	}
	data, err := os.ReadFile(filepath.Join(ws, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != sums {
		t.Errorf("the workspace's go.sum was changed to\n%s", data)
	}
}

// TestCheckProxies refuses to fetch unless GOPROXY names a proxy before "off".
func TestCheckProxies(t *testing.T) {
	m := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	ws := t.TempDir()
	testenv.WriteFile(t, filepath.Join(ws, "go.mod"), "module example.com/app\n")
	testenv.WriteFile(t, filepath.Join(ws, "go.sum"), "example.com/a v1.0.0 h1:x\nmalformed\n")
	for proxy, ok := range map[string]bool{
		"direct": false, "off": false, "off,file:///x": false, "direct,file:///x": true, "file:///x|direct": true, "file:///x": true,
	} {
		t.Setenv("GOPROXY", proxy)
		s, err := gosource.Read(t.Context(), ws)
		if err != nil || s.Problem != nil {
			t.Fatal(err, s.Problem)
		}
		if err := gosource.NewFetcher(s).Check(m); (err == nil) != ok {
			t.Errorf("GOPROXY=%s: %v", proxy, err)
		}
	}
}

// publish adds a module to a proxy's directory (go.dev/ref/mod, "GOPROXY protocol")
// and returns its go.sum lines.
func publish(t *testing.T, proxy, path, version string) string {
	t.Helper()
	escaped, err := module.EscapePath(path)
	if err != nil {
		t.Fatal(err)
	}
	mod := "module " + path + "\n"
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for name, text := range map[string]string{"go.mod": mod, "x.go": "package x\n"} {
		w, err := z.Create(path + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(text))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(proxy, filepath.FromSlash(escaped), "@v", version)
	testenv.WriteFile(t, at+".info", `{"Version":"`+version+`"}`)
	testenv.WriteFile(t, at+".mod", mod)
	testenv.WriteFile(t, at+".zip", archive.String())
	hash, err := dirhash.HashZip(at+".zip", dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	modHash, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(at + ".mod") })
	if err != nil {
		t.Fatal(err)
	}
	return path + " " + version + " " + hash + "\n" + path + " " + version + "/go.mod " + modHash + "\n"
}
