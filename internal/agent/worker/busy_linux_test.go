package worker

import (
	"bufio"
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-delve/delve/pkg/dwarf/op"
	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/service/api"
)

// busyDebuggee is a running testdata/busy that we are attached to.
type busyDebuggee struct {
	*debuggee
	beats *atomic.Int64
	ended chan struct{}
}

// buildBusy returns the path of the target.
func buildBusy(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("skipped: breakpoints move the program counter on amd64 only")
	}
	path := filepath.Join(t.TempDir(), "busy")
	build := exec.Command("go", "build", "-gcflags", "all=-N -l", "-o", path, "../testdata/busy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// attachBusy starts a target, which ends with the test, and attaches.
func attachBusy(t *testing.T, path string) *busyDebuggee {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Stderr = t.Output()
	if _, err := cmd.StdinPipe(); err != nil { // which it ends with
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &busyDebuggee{beats: new(atomic.Int64), ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			d.beats.Add(1)
		}
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if t.Failed() && d.debuggee != nil { // a traced process ends when its tracer has looked
			d.Detach(false)
		}
		<-d.ended
	})
	d.beat(t)
	if d.debuggee, err = attach(t.Context(), cmd.Process.Pid, "", slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	return d
}

// beat waits until the target has worked for a while.
func (d *busyDebuggee) beat(t *testing.T) {
	t.Helper()
	for before := d.beats.Load(); d.beats.Load() < before+20; time.Sleep(time.Millisecond) {
		select {
		case <-d.ended:
			t.Fatal("the target has ended")
		default:
		}
	}
}

// letGo detaches, and sees that the target lives.
func (d *busyDebuggee) letGo(t *testing.T) {
	t.Helper()
	if err := d.release(); err != nil {
		t.Fatal(err)
	}
	d.beat(t)
}

// find returns the address of that code in main.hot.
func (d *busyDebuggee) find(t *testing.T, code []byte) (addr uint64) {
	t.Helper()
	d.withTarget(func(tgt *proc.Target) {
		fns := tgt.BinInfo().LookupFunc()["main.hot"]
		if len(fns) != 1 {
			t.Fatalf("%d functions main.hot", len(fns))
		}
		text := make([]byte, fns[0].End-fns[0].Entry)
		if _, err := tgt.Memory().ReadMemory(text, fns[0].Entry); err != nil {
			t.Fatal(err)
		}
		i := bytes.Index(text, code)
		if i < 0 {
			t.Fatalf("no %x in %x", code, text)
		}
		addr = fns[0].Entry + uint64(i)
	})
	return addr
}

// hit returns a thread that has hit a breakpoint at that code of main.hot.
func (d *busyDebuggee) hit(t *testing.T, code []byte) (thread int, at uint64) {
	t.Helper()
	at = d.find(t, code)
	if _, err := d.CreateBreakpoint(&api.Breakpoint{Addr: at}, "", nil, false); err != nil {
		t.Fatal(err)
	}
	state := d.command(t, api.Continue)
	if state.CurrentThread == nil || state.CurrentThread.PC != at {
		t.Fatalf("not at the breakpoint: %+v", state.CurrentThread)
	}
	return state.CurrentThread.ID, at
}

func (d *busyDebuggee) command(t *testing.T, name string) *api.DebuggerState {
	t.Helper()
	state, err := d.Command(&api.DebuggerCommand{Name: name}, nil, nil, nil)
	if err != nil || state.Err != nil || state.Exited {
		t.Fatalf("%s: %+v, %v", name, state, err)
	}
	return state
}

func (d *busyDebuggee) withTarget(do func(*proc.Target)) {
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	do(tgrp.Selected)
}

// move sets a thread's program counter.
func (d *busyDebuggee) move(t *testing.T, thread int, pc uint64) {
	t.Helper()
	d.withTarget(func(tgt *proc.Target) {
		th, ok := tgt.FindThread(thread)
		if !ok {
			t.Fatalf("no thread %d", thread)
		}
		if err := th.SetReg(tgt.BinInfo().Arch.PCRegNum, op.DwarfRegisterFromUint64(pc)); err != nil {
			t.Fatal(err)
		}
	})
}

// places returns where all threads are.
func (d *busyDebuggee) places(t *testing.T) map[int]uint64 {
	t.Helper()
	pcs := map[int]uint64{}
	d.withTarget(func(tgt *proc.Target) {
		for _, th := range tgt.ThreadList() {
			regs, err := th.Registers()
			if err != nil {
				t.Fatal(err)
			}
			pcs[th.ThreadID()] = regs.PC()
		}
	})
	return pcs
}

func (d *busyDebuggee) pc(t *testing.T, thread int) uint64 {
	t.Helper()
	return d.places(t)[thread]
}

// write writes to the target's text and returns what stood there.
func (d *busyDebuggee) write(t *testing.T, addr uint64, data []byte) (before []byte) {
	t.Helper()
	before = make([]byte, len(data))
	d.withTarget(func(tgt *proc.Target) {
		if _, err := tgt.Memory().ReadMemory(before, addr); err != nil {
			t.Fatal(err)
		}
		if _, err := tgt.Memory().WriteMemory(addr, data); err != nil {
			t.Fatal(err)
		}
	})
	return before
}
