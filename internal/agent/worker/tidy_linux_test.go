package worker

import (
	"errors"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/go-delve/delve/service/api"

	"github.com/dapbridge/dapbridge/internal/target"
)

// Code of main.hot, a function with a frame.
var (
	beginOfFrame = []byte{pushBP}
	endOfFrame   = []byte{popBP, 0xc3}      // POPQ BP; RET
	middle       = []byte{0x48, 0x01, 0xd8} // ADDQ BX, AX
)

// A thread that is where it has to go on stays there, and one that a halt has
// misplaced is put there; executed says whether the instruction at the
// breakpoint has been.
func TestPlace(t *testing.T) {
	path := buildBusy(t)
	for name, tt := range map[string]struct {
		code     []byte
		executed bool
		off      uint64 // from the breakpoint, where Delve has put it
		want     uint64
	}{
		"begin of a frame":                   {beginOfFrame, false, 0, 0},
		"begin of a frame, behind the hit":   {beginOfFrame, false, 1, 0},
		"begin of a frame, executed":         {beginOfFrame, true, 1, 1},
		"begin of a frame, executed, back":   {beginOfFrame, true, 0, 1},
		"end of a frame":                     {endOfFrame, false, 0, 0},
		"end of a frame, behind the hit":     {endOfFrame, false, 1, 0},
		"end of a frame, executed":           {endOfFrame, true, 1, 1},
		"end of a frame, executed, back":     {endOfFrame, true, 0, 1},
		"a longer instruction":               {middle, false, 0, 0},
		"a longer instruction, behind a hit": {middle, false, 1, 0},
		"a longer instruction, executed":     {middle, true, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			d := attachBusy(t, path)
			thread, at := d.hit(t, tt.code)
			if tt.executed {
				d.command(t, api.StepInstruction)
			}
			d.move(t, thread, at+tt.off)
			if err := d.clear(); err != nil {
				t.Fatal(err)
			}
			if err := d.tidy(); err != nil {
				t.Fatal(err)
			}
			if pc := d.pc(t, thread); pc != at+tt.want {
				t.Errorf("at %+d, want %+d", int64(pc-at), tt.want)
			}
			d.letGo(t)
		})
	}
}

// The signals of a debugger that are pending are taken, and no thread moves but
// one that is about to learn of a hit.
func TestTakePending(t *testing.T) {
	path := buildBusy(t)
	for name, send := range map[string]func(pid, tid int) error{
		"a halt":      func(pid, _ int) error { return syscall.Kill(pid, syscall.SIGTRAP) },
		"a hit":       func(pid, tid int) error { return syscall.Tgkill(pid, tid, syscall.SIGTRAP) },
		"a late stop": func(pid, tid int) error { return syscall.Tgkill(pid, tid, syscall.SIGSTOP) },
		"several": func(pid, tid int) error {
			return errors.Join(syscall.Kill(pid, syscall.SIGTRAP), syscall.Tgkill(pid, tid, syscall.SIGTRAP), syscall.Tgkill(pid, tid, syscall.SIGSTOP))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := attachBusy(t, path)
			thread, at := d.hit(t, middle)
			if err := d.clear(); err != nil {
				t.Fatal(err)
			}
			d.move(t, thread, at+1)
			before := d.places(t)
			before[thread] = at
			if err := send(d.pid, thread); err != nil {
				t.Fatal(err)
			}
			if pending, err := d.pending(); err != nil || !pending {
				t.Fatalf("nothing is pending, %v", err)
			}
			if err := d.tidy(); err != nil {
				t.Fatal(err)
			}
			if pending, err := d.pending(); err != nil || pending {
				shared, own, _ := target.PendingSignals(d.pid)
				t.Errorf("pending: %#x, %+v, %v", shared, own, err)
			}
			if after := d.places(t); !maps.Equal(before, after) {
				t.Errorf("threads are at %#x, want %#x", after, before)
			}
			d.letGo(t)
		})
	}
}

// A thread that Delve's halt reaches right behind a breakpoint on an instruction
// of one byte goes on from there. Here the halt's signal is sent by hand, to
// that thread and at that moment.
func TestThreadThatDelveSetsBack(t *testing.T) {
	path := buildBusy(t)
	for name, code := range map[string][]byte{"begin of a frame": beginOfFrame, "end of a frame": endOfFrame} {
		t.Run(name, func(t *testing.T) {
			d := attachBusy(t, path)
			thread, at := d.hit(t, code)
			d.command(t, api.StepInstruction)
			if err := syscall.Tgkill(d.pid, thread, syscall.SIGTRAP); err != nil {
				t.Fatal(err)
			}
			d.command(t, api.Continue)
			if pc := d.pc(t, thread); pc != at {
				t.Fatalf("Delve has not set the thread back: %#x", pc)
			}
			d.letGo(t)
		})
	}
}

// A thread that is halted right behind a breakpoint on an instruction of one byte
// is remembered by Delve as one whose hit is yet to come, and set back by the
// next trap that it takes; that of a late halt will do. Here the thread is kept
// at that place, and the trap is sent to it by hand.
func TestThreadThatDelveRemembers(t *testing.T) {
	path := buildBusy(t)
	spin := []byte{0xeb, 0xfe} // JMP to itself
	for name, code := range map[string][]byte{"begin of a frame": beginOfFrame, "end of a frame": endOfFrame} {
		t.Run(name, func(t *testing.T) {
			d := attachBusy(t, path)
			thread, at := d.hit(t, code)
			d.command(t, api.StepInstruction)
			behind := d.write(t, at+1, spin)
			for halted := false; !halted; halted = d.pc(t, thread) == at+1 {
				d.move(t, thread, at+1) // if it took the trap of the halt itself
				d.run()
				if err := d.stopRunning(); err != nil {
					t.Fatal(err)
				}
			}
			d.write(t, at+1, behind)
			if err := syscall.Tgkill(d.pid, thread, syscall.SIGTRAP); err != nil {
				t.Fatal(err)
			}
			d.letGo(t)
		})
	}
}

// A target whose threads run through breakpoints all the time is halted at any
// moment, now and then by one halt more than it takes, and goes on.
func TestQuiesceOften(t *testing.T) {
	d := attachBusy(t, buildBusy(t))
	for round := range 100 {
		for _, code := range [][]byte{beginOfFrame, middle, endOfFrame} {
			bp := &api.Breakpoint{Addr: d.find(t, code), Cond: "1 == 2"}
			if _, err := d.CreateBreakpoint(bp, "", nil, false); err != nil {
				t.Fatal(err)
			}
		}
		d.run()
		time.Sleep(time.Duration(round%8) * 300 * time.Microsecond)
		if err := d.stopRunning(); err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 { // a halt that came too late
			d.Command(&api.DebuggerCommand{Name: api.Halt}, nil, nil, nil)
		}
		if err := d.quiesce(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if pending, err := d.pending(); err != nil || pending {
			t.Fatalf("round %d: signals are pending (%v)", round, err)
		}
	}
	d.letGo(t)
}

// A target that Delve has no more, here because it has been let go, is left alone.
func TestTidyWithoutATarget(t *testing.T) {
	d := attachBusy(t, buildBusy(t))
	if err := d.Detach(false); err != nil {
		t.Fatal(err)
	}
	if err := d.tidy(); err == nil {
		t.Error("no error")
	}
	d.beat(t)
}

// An instruction is known by its begin, and only behind what the decoder knows.
func TestInstruction(t *testing.T) {
	frame := []byte{0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3} // PUSHQ BP; MOVQ SP, BP; POPQ BP; RET
	unknown := []byte{0x55, 0x06, 0x48, 0x89, 0xe5}     // PUSHQ BP; none of 64 bits; MOVQ SP, BP
	for name, tt := range map[string]struct {
		text []byte
		want []int // by offset
	}{
		"a frame": {frame, []int{1, 3, 0, 0, 1, 1, 0}},
		"unknown": {unknown, []int{1, 0, 0, 0, 0}},
		"nothing": {nil, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			for off, want := range tt.want {
				if got := instruction(tt.text, off); got != want {
					t.Errorf("at %d: %d, want %d", off, got, want)
				}
			}
		})
	}
}
