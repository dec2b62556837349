package procfs

import (
	"debug/elf"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// functionAt returns the address of a function in a process.
func functionAt(t *testing.T, pid int, path, name string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	auxv, err := readProc(pid, "auxv", statusLimit)
	if err != nil {
		t.Fatal(err)
	}
	x, err := exe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	segments, _, err := x.TextSegments(auxv)
	if err != nil {
		t.Fatal(err)
	}
	bias := uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			bias = segments[0].Addr - p.Vaddr
			break
		}
	}
	for _, s := range symbols {
		if s.Name == name {
			return s.Value + bias
		}
	}
	t.Fatalf("no %s in %s", name, path)
	return 0
}

func poke(t *testing.T, pid int, addr uint64, data ...byte) {
	t.Helper()
	mem, err := os.OpenFile(procPath(pid, "mem"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	if _, err := mem.WriteAt(data, int64(addr)); err != nil {
		testenv.Skipf(t, "this kernel lets nobody write text: %v", err)
	}
}

func TestRestoreText(t *testing.T) {
	for _, mode := range []string{"-buildmode=exe", "-buildmode=pie"} {
		t.Run(mode, func(t *testing.T) {
			path := exetest.Build(t, "sleeper", mode, "-gcflags=all=-N -l")
			pid := start(t, exec.Command(path, "4"))
			if diffs, err := CompareText(pid); err != nil || len(diffs) != 0 {
				t.Fatal(diffs, err)
			}
			addr := functionAt(t, pid, path, "main.neverCalled")
			testRestore(t, pid, addr)
		})
	}
}

func testRestore(t *testing.T, pid int, addr uint64) {
	t.Helper()
	trap := nativeTrap(t)
	for _, off := range []uint64{0, 4, 64} {
		poke(t, pid, addr+off, trap...)
	}
	diffs, err := CompareText(pid)
	if err != nil || len(diffs) < 3 {
		t.Fatalf("%+v, %v; want 3 differences or more", diffs, err)
	}
	if first := diffs[0]; first.Addr < addr || first.Addr > addr+3 {
		t.Errorf("the first difference is at %#x, not at %#x", first.Addr, addr)
	}
	if n, err := RestoreText(pid); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if diffs, err := CompareText(pid); err != nil || len(diffs) != 0 {
		t.Fatal(diffs, err)
	}
	if n, err := RestoreText(pid); n != 0 || err != nil {
		t.Fatal(n, err)
	}
}

// What no debugger wrote is not changed.
func TestRestoreTextLeavesOthers(t *testing.T) {
	path := exetest.Build(t, "sleeper")
	pid := start(t, exec.Command(path))
	addr := functionAt(t, pid, path, "main.neverCalled")
	poke(t, pid, addr, 0x11, 0x22, 0x33, 0x44)
	if n, err := RestoreText(pid); n != 0 || err != nil {
		t.Error(n, err)
	}
	if diffs, err := CompareText(pid); err != nil || len(diffs) < 3 {
		t.Error(diffs, err)
	}
}

func TestCompareTextIsBounded(t *testing.T) {
	path := exetest.Build(t, "sleeper")
	pid := start(t, exec.Command(path))
	kill(t, pid, syscall.SIGSTOP)
	poke(t, pid, functionAt(t, pid, path, "runtime.main"), make([]byte, 2*diffLimit)...)
	if diffs, err := CompareText(pid); err != nil || len(diffs) != diffLimit {
		t.Error(len(diffs), err)
	}
}

// nativeTrap returns this machine's breakpoint instruction.
func nativeTrap(t *testing.T) []byte {
	t.Helper()
	auxv, err := readProc(os.Getpid(), "auxv", statusLimit)
	if err != nil {
		t.Fatal(err)
	}
	x, err := OpenExe(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	_, trap, err := x.TextSegments(auxv)
	if err != nil {
		testenv.Skipf(t, "no debugger for this architecture: %v", err)
	}
	return trap
}
