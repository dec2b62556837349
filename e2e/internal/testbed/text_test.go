//go:build linux

package testbed

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// victimSource is a program that waits for input while the test writes to its code
// through /proc/PID/mem, as a debugger would.
const victimSource = `package main

import "os"

func main() {
	os.Stdout.WriteString("up\n")
	os.Stdin.Read(make([]byte, 1))
	untouched()
}

//go:noinline
func untouched() { println("done") }
`

func TestTextEqualsFileFindsChangedBytes(t *testing.T) {
	for _, mode := range []string{"exe", "pie"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "victim")
			if err := os.WriteFile(source, []byte(victimSource), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("go", "build", "-buildmode="+mode, "-o", program, source).CombinedOutput(); err != nil {
				t.Fatalf("build the victim: %v\n%s", err, out)
			}
			proc := startVictim(t, program)
			// The comparison must not depend on the file's path.
			if err := os.Remove(program); err != nil {
				t.Fatal(err)
			}
			differ, err := textDifferences(t.Context(), proc)
			if err != nil {
				t.Fatal(err)
			}
			if len(differ) != 0 {
				t.Fatalf("unchanged text differs at %#x", differ)
			}
			want := symbolAddress(t, proc, "main.untouched")
			poke(t, proc, want)
			differ, err = textDifferences(t.Context(), proc)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(differ, []uint64{want}) {
				t.Errorf("changed text differs at %#x, want %#x", differ, want)
			}
		})
	}
}

// startVictim starts program and returns its directory in /proc.
func startVictim(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	return "/proc/" + strconv.Itoa(cmd.Process.Pid)
}

// symbolAddress returns the address of a function in a running program.
func symbolAddress(t *testing.T, proc, name string) uint64 {
	t.Helper()
	program, err := elf.Open(filepath.Join(proc, "exe"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	bias, err := loadBias(proc, program)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := program.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == name {
			return bias + s.Value
		}
	}
	t.Fatalf("no symbol %s", name)
	return 0
}

// poke writes a breakpoint instruction into a process.
func poke(t *testing.T, proc string, address uint64) {
	t.Helper()
	memory, err := os.OpenFile(filepath.Join(proc, "mem"), os.O_RDWR, 0)
	if err != nil {
		testenv.Skipf(t, "cannot write to a child's memory here: %v", err)
	}
	defer memory.Close()
	if _, err := memory.WriteAt([]byte{0xcc}, int64(address)); err != nil {
		testenv.Skipf(t, "cannot write to a child's memory here: %v", err)
	}
}
