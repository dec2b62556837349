//go:build linux

package supervisor

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/idle"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// packSymbols returns content as it is uploaded, and its hash.
func packSymbols(t *testing.T, content string) (data []byte, hash string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	return b.Bytes(), hex.EncodeToString(sum[:])
}

func TestStoreSymbols(t *testing.T) {
	s := symbolStore{filepath.Join(t.TempDir(), "symbols")}
	data, hash := packSymbols(t, "debug sections")
	if s.has(hash) {
		t.Error("an empty store has the file")
	}
	for range 2 { // the second time as if another upload had been faster
		if err := s.add(bytes.NewReader(data), hash); err != nil {
			t.Fatal(err)
		}
	}
	for hash, want := range map[string]bool{hash: true, hash[1:] + "0": false, "../" + hash: false} {
		testenv.Equal(t, "has "+hash, s.has(hash), want)
	}
	dir, err := s.link(hash, "/usr/bin/containerd")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"containerd.debug", "exe.debug"} { // where Delve looks
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "debug sections" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := s.link(hash, "/usr/bin/containerd"); err != nil {
		t.Error("the second time:", err)
	}
	r, err := s.removeAll()
	if err != nil {
		t.Error(err)
	}
	testenv.Equal(t, "what was removed", r, api.RemovedSymbols{Files: 1, Bytes: int64(len("debug sections"))})
	testenv.Equal(t, "has, after the removal", s.has(hash), false)
	if r, err := s.removeAll(); err != nil || r != (api.RemovedSymbols{}) {
		t.Errorf("removed nothing: %+v, %v", r, err)
	}
	if _, err := s.link(hash, "x"); diag.CodeOf(err) != diag.TargetStripped {
		t.Errorf("ready without a file: %v", err)
	}
}

// TestStoreSymbolsWhole checks that an interrupted or altered upload leaves nothing.
func TestStoreSymbolsWhole(t *testing.T) {
	s := symbolStore{filepath.Join(t.TempDir(), "symbols")}
	data, hash := packSymbols(t, strings.Repeat("debug sections", 10000))
	other, _ := packSymbols(t, "something else")
	for name, r := range map[string]io.Reader{
		"cut off": bytes.NewReader(data[:len(data)/2]),
		"empty":   bytes.NewReader(nil),
		"broken":  io.MultiReader(bytes.NewReader(data[:100]), iotest.ErrReader(io.ErrClosedPipe)),
		"another": bytes.NewReader(other),
		"no gzip": strings.NewReader("debug sections"),
	} {
		if err := s.add(r, hash); err == nil || s.has(hash) {
			t.Errorf("%s: stored (%v)", name, err)
		}
		if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
			t.Errorf("%s: leaves %v (%v)", name, left, err)
		}
	}
	for _, name := range []string{"", "..", hash[:63], strings.ToUpper(hash), hash + "/.."} {
		if s.add(bytes.NewReader(data), name) == nil {
			t.Errorf("stored under %q", name)
		}
	}
}

// TestStoreSymbolsSilence lets an upload go silent: it fails in time and leaves
// nothing.
func TestStoreSymbolsSilence(t *testing.T) {
	s := symbolStore{filepath.Join(t.TempDir(), "symbols")}
	data, hash := packSymbols(t, strings.Repeat("debug sections", 10000))
	upload, end := io.Pipe()
	defer end.Close()
	go end.Write(data[:len(data)/2]) // and nothing more
	alive := idle.NewReader(upload, 200*time.Millisecond)
	defer alive.Close()
	start := time.Now()
	err := s.add(alive, hash)
	if err == nil || !strings.Contains(err.Error(), "nothing arrived for 200ms") {
		t.Error(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("leaves %v (%v)", left, err)
	}
}

// TestStoreSymbolsAmongOthers checks that the store refuses a directory that others can
// write to, and keeps only a few files.
func TestStoreSymbolsAmongOthers(t *testing.T) {
	s := symbolStore{filepath.Join(t.TempDir(), "symbols")}
	stale := filepath.Join(s.dir, ".next-1")
	if err := os.MkdirAll(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * symbolsStale)
	if err := os.Chtimes(stale, long, long); err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for i := range maxSymbols + 2 {
		data, hash := packSymbols(t, fmt.Sprint(i))
		if err := s.add(bytes.NewReader(data), hash); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
		at := long.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(filepath.Join(s.dir, hash), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, hash := range hashes {
		if want := i >= len(hashes)-maxSymbols; s.has(hash) != want {
			t.Errorf("has file %d: %v", i, !want)
		}
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("what an upload left is still there")
	}

	data, hash := packSymbols(t, "x")
	if err := os.Chmod(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if s.add(bytes.NewReader(data), hash) == nil || s.has(hashes[len(hashes)-1]) {
		t.Error("a directory that all may write to is used")
	}
	link := symbolStore{filepath.Join(t.TempDir(), "link")}
	if err := os.Symlink(t.TempDir(), link.dir); err != nil {
		t.Fatal(err)
	}
	if link.add(bytes.NewReader(data), hash) == nil {
		t.Error("a symbolic link is followed")
	}
}

// TestFindDebugInfo checks that symbols are used only for the process for which they were
// proved, and the function table only if it is to do.
func TestFindDebugInfo(t *testing.T) {
	stripped := api.Target{Process: api.Process{PID: 1, StartTicks: 2, Exe: "/x"}, Build: exe.Build{Stripped: true, BuildID: "b", GoVersion: "go1.26.8"}}
	if d, err := findDebugInfo(api.Target{}, api.AttachParams{FunctionTable: true}); d != (debugInfo{}) || err != nil {
		t.Errorf("a target that needs none: %+v, %v", d, err)
	}
	_, hash := packSymbols(t, "never stored")
	right := api.Symbols{Hash: hash, PID: 1, StartTicks: 2, BuildID: "b"}
	for name, s := range map[string]*api.Symbols{
		"none": nil, "another process": {Hash: hash, PID: 2, StartTicks: 2, BuildID: "b"}, "the pid's former process": {Hash: hash, PID: 1, StartTicks: 3, BuildID: "b"},
		"another program": {Hash: hash, PID: 1, StartTicks: 2, BuildID: "c"},
	} {
		t.Run(name, func(t *testing.T) {
			if d, err := findDebugInfo(stripped, api.AttachParams{Symbols: s}); diag.CodeOf(err) != diag.TargetStripped {
				t.Errorf("%+v, %v", d, err)
			}
			d, err := findDebugInfo(stripped, api.AttachParams{Symbols: s, FunctionTable: true})
			if err != nil {
				t.Fatal(err)
			}
			testenv.Equal(t, "source", d.source, functionTable)
			testenv.Equal(t, "Go's version", d.goVersion, "go1.26.8")
			for _, link := range []string{"x.debug", "exe.debug"} {
				if to, err := os.Readlink(filepath.Join(d.dir, link)); err != nil || to != debugName {
					t.Errorf("%s leads to %q, %v", link, to, err)
				}
			}
			d.remove()
			if _, err := os.Stat(d.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory is left: %v", err)
			}
		})
	}
	for _, s := range []api.Symbols{right, {Hash: "../x", PID: 1, StartTicks: 2, BuildID: "b"}} {
		if d, err := findDebugInfo(stripped, api.AttachParams{Symbols: &s, FunctionTable: true}); diag.CodeOf(err) != diag.TargetStripped {
			t.Errorf("symbols that are not there: %+v, %v", d, err)
		}
	}
}
