//go:build linux

package functable

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// buildSample builds testdata/sample with debug information.
func buildSample(t *testing.T, env []string, flags ...string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "sample")
	cmd := exec.Command("go", append(append([]string{"build", "-o", program}, flags...), "main.go")...)
	cmd.Dir = "testdata/sample"
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// runSample runs a program until the test ends, and returns once it is ready.
func runSample(t *testing.T, program string) (pid int) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		io.Copy(io.Discard, stdout)
		cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the program says %q, %v", line, err)
	}
	return cmd.Process.Pid
}

// writeTable returns the debug information of a process.
func writeTable(t *testing.T, pid int) (*elf.File, Result) {
	t.Helper()
	var w bytes.Buffer
	r, err := Write(&w, pid, runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	return openELF(t, bytes.NewReader(w.Bytes())), r
}

func openELF(t *testing.T, r io.ReaderAt) *elf.File {
	t.Helper()
	f, err := elf.NewFile(r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAgainstDWARF compares the debug information that is made from the function table
// with what the toolchain has written, for builds that put the tables into different places.
func TestAgainstDWARF(t *testing.T) {
	testenv.NeedsTool(t, "go")
	for name, b := range map[string]struct {
		cgo    string
		flags  []string
		second bool // tier
	}{
		"static":                 {"0", nil, false},
		"PIE":                    {"0", []string{"-buildmode=pie"}, false},
		"not optimised":          {"0", []string{"-gcflags=all=-N -l"}, true},
		"external linker":        {"1", []string{"-ldflags=-linkmode=external"}, true},
		"PIE by external linker": {"1", []string{"-buildmode=pie", "-ldflags=-linkmode=external"}, true},
		"static with C":          {"1", []string{"-ldflags=-linkmode=external -extldflags=-static"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if b.second {
				testenv.SecondTier(t)
			}
			if b.cgo == "1" {
				testenv.NeedsTool(t, "gcc")
			}
			program := buildSample(t, []string{"CGO_ENABLED=" + b.cgo}, b.flags...)
			made, r := writeTable(t, runSample(t, program))
			testenv.Equal(t, "reason for no goroutines", r.NoGoroutines, "")
			written, err := elf.Open(program)
			if err != nil {
				t.Fatal(err)
			}
			defer written.Close()
			got, want := readDebugInfo(t, made), readDebugInfo(t, written)
			compareFunctions(t, got, want)
			compareFrames(t, readFrames(t, made), readFrames(t, written), got)
			compareTypes(t, got, want)
		})
	}
}

// TestGoVersions checks the tables of the oldest and the newest Go that have this format,
// and of those at whose release the format of something in them changed.
func TestGoVersions(t *testing.T) {
	testenv.SecondTier(t)
	for _, version := range []string{"go1.21.13", "go1.22.12", "go1.25.1", "go1.27.0"} {
		t.Run(version, func(t *testing.T) {
			program := buildSample(t, []string{"CGO_ENABLED=0", "GOTOOLCHAIN=" + version, "GOFLAGS=", "GO111MODULE=off"})
			made, r := writeTable(t, runSample(t, program))
			testenv.Equal(t, "reason for no goroutines", r.NoGoroutines, "")
			facts := readDebugInfo(t, made)
			isArea := func(f *functionFacts) bool { return f.name == "main.square.area" && len(f.inlined) == 3 }
			if !slices.ContainsFunc(slices.Collect(maps.Values(facts.functions)), isArea) {
				t.Error("main.square.area is missing, or its three inlined calls")
			}
		})
	}
}

// openOwn returns the image of the test's own process, a Go program like any other.
func openOwn(t testing.TB) *image {
	t.Helper()
	m, err := openImage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close() })
	return m
}

// TestDamaged checks what is said of a table in which something is not as it should be.
func TestDamaged(t *testing.T) {
	overwrite := func(text string, with ...byte) func(*image) {
		return func(m *image) {
			find(m.segments, []byte(text), 1, func(addr uint64) bool { copy(m.from(addr), with); return false })
		}
	}
	for name, tt := range map[string]struct {
		damage     func(*image)
		goroutines string // why they are missing
		err        string
	}{
		"nothing":          {func(*image) {}, "", ""},
		"no table":         {overwrite(string(magic()), 0), "", "no function table"},
		"another version":  {overwrite(string(magic()), 0xf0), "", "no function table"},
		"no type":          {overwrite("\x0a*runtime.g", 'x'), "no description of the type runtime.g", ""},
		"no main function": {overwrite("\x00runtime.main\x00", 0, 'x'), "no function runtime.main", ""},
		"no field":         {overwrite("\x07startpc", 7, 'x'), "not as expected", ""},
		"other code": {func(m *image) {
			t, _ := findTable(m)
			entry, _ := t.entryOf("runtime.morestack")
			copy(m.from(entry), []byte{0x90, 0x90, 0x90})
		}, "a thread's g", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := openOwn(t)
			tt.damage(m)
			_, r, err := m.debugInfo(runtime.Version())
			if got := fmt.Sprint(err); tt.err != "" && !strings.Contains(got, tt.err) || tt.err == "" && err != nil {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if !strings.Contains(r.NoGoroutines, tt.goroutines) || (r.NoGoroutines == "") != (tt.goroutines == "") {
				t.Errorf("no goroutines because of %q, want %q", r.NoGoroutines, tt.goroutines)
			}
		})
	}
}

// TestMemory checks that a target cannot make the reader keep much more than its table has.
func TestMemory(t *testing.T) {
	t.Run("one long name", func(t *testing.T) { // of all functions
		m := openOwn(t)
		table := mustFindTable(t, m)
		first := table.funcs[binary.LittleEndian.Uint32(table.funcs[4:]):]
		name := table.names[binary.LittleEndian.Uint32(first[4:]):]
		copy(name[:nameLimit-1], bytes.Repeat([]byte("x"), nameLimit-1))
		name[nameLimit-1] = 0
		for i := range table.count {
			copy(table.funcs[8*i+4:][:4], table.funcs[4:8])
		}
		table = mustFindTable(t, m)
		for i := range table.count {
			if got := table.function(i).name; len(got) != nameLimit-1 {
				t.Fatalf("function %d has a name of %d bytes", i, len(got))
			}
		}
		if used := memoryLimit - table.memory; used > 2*nameLimit {
			t.Errorf("%d functions with one name took %d bytes", table.count, used)
		}
	})
	t.Run("much text", func(t *testing.T) {
		table := mustFindTable(t, openOwn(t))
		table.memory = 10 << 10
		defer func() {
			if p := recover(); p == nil {
				t.Error("the limit has no effect")
			}
		}()
		for i := range table.count {
			table.function(i)
		}
	})
}

func mustFindTable(t *testing.T, m *image) *table {
	t.Helper()
	table, err := findTable(m)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestNoProcess(t *testing.T) {
	if _, err := Write(io.Discard, 1<<30, "go1.26"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// FuzzDebugInfo changes the tables of a program at any place near the function table's
// header, the module data, or the functions: all must end without a panic, and within bounds.
func FuzzDebugInfo(f *testing.F) {
	for place := range uint8(6) {
		f.Add(place, uint16(8), []byte{0xff, 0xff, 0xff, 0x7f})
	}
	f.Fuzz(func(t *testing.T, place uint8, offset uint16, bytes []byte) {
		m := openOwn(t)
		table, err := findTable(m)
		if err != nil {
			t.Fatal(err)
		}
		fn := table.function(table.count / 2)
		places := [][]byte{table.funcs, table.names, table.units, table.files, table.values, m.from(fn.entry)}
		target := places[int(place)%len(places)]
		copy(target[min(int(offset), len(target)):], bytes)
		m.debugInfo(runtime.Version())
	})
}
