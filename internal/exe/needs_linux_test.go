package exe

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestNeeds builds a program that needs the system's C library, and compares the
// judgement with the dynamic linker's, also for the same program when it requires a
// version that no C library has.
func TestNeeds(t *testing.T) {
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"C\"\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		testenv.Skipf(t, "it needs a C compiler: %v\n%s", err, out)
	}
	n, err := open(t, program).Needs()
	if err != nil || n.Interpreter == "" || len(n.Libraries) == 0 {
		t.Fatalf("%+v, %v", n, err)
	}
	if missing := n.Missing("/"); missing != "" || exec.Command(program).Run() != nil {
		t.Errorf("this system lacks %q for %+v", missing, n)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(dir, "later")
	if err := os.WriteFile(later, bytes.ReplaceAll(text, []byte("GLIBC_2.34"), []byte("GLIBC_2.99")), 0o755); err != nil {
		t.Fatal(err)
	}
	n, err = open(t, later).Needs()
	if err != nil {
		t.Fatal(err)
	}
	said, runErr := exec.Command(later).CombinedOutput()
	if missing := n.Missing("/"); !strings.Contains(missing, "GLIBC_2.99 of libc.so.6") || !strings.Contains(missing, "at most GLIBC_2.") ||
		runErr == nil || !strings.Contains(string(said), "GLIBC_2.99") {
		t.Errorf("it lacks %q; the dynamic linker says: %v: %s", missing, runErr, said)
	}
	empty := t.TempDir()
	if missing := n.Missing(empty); !strings.Contains(missing, "dynamic linker "+n.Interpreter) {
		t.Errorf("a system without anything lacks %q", missing)
	}
	linker := filepath.Join(empty, n.Interpreter)
	if err := os.MkdirAll(filepath.Dir(linker), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-L", n.Interpreter, linker).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if missing := n.Missing(empty); missing != "the library libc.so.6" {
		t.Errorf("a system without libraries lacks %q", missing)
	}
	beside := exec.Command("go", "build", "-ldflags=-r $ORIGIN/../lib", "-o", program, source)
	beside.Env = build.Env
	if out, err := beside.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n, err := open(t, program).Needs(); err != nil || n.Interpreter == "" || n.Missing(empty) != "" {
		t.Errorf("a library that may be beside the program is missing: %q; %+v, %v", n.Missing(empty), n, err)
	}
	static := exec.Command("go", "build", "-o", program, source)
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	static.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := static.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n, err := open(t, program).Needs(); err != nil || n.Interpreter != "" || n.Missing(empty) != "" {
		t.Errorf("a static program needs %+v (%v)", n, err)
	}
}
