//go:build linux

package supervisor

import (
	"bufio"
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
)

// TestEnsureReleasedAfterAKill expects a SIGCONT after a debugger that was killed, and
// none after one that has detached.
func TestEnsureReleasedAfterAKill(t *testing.T) {
	for _, killed := range []bool{true, false} {
		cmd := exec.Command("sh", "-c", "trap 'echo continued' CONT; echo ready; read go; echo end")
		in, _ := cmd.StdinPipe()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		p, err := procfs.Find(context.Background(), api.Selector{PID: cmd.Process.Pid})
		if err != nil {
			t.Fatal(err)
		}
		if err := ensureReleased(process{PID: p.PID, StartTicks: p.StartTicks}, killed, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		in.Write([]byte("\n"))
		lines.Scan()
		if got := lines.Text() == "continued"; got != killed {
			t.Errorf("killed %v, and it says %q", killed, lines.Text())
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// TestDlvIsTracing waits for a dlv that no longer answers until its target is free:
// the kernel closes the connections of a killed one a moment before that.
func TestDlvIsTracing(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	runtime.LockOSThread() // the thread is the tracer
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		t.Fatal(err)
	}
	gone := Dlv("unix:" + filepath.Join(t.TempDir(), "dlv.sock"))
	holds := make(chan bool)
	go func() { holds <- gone.isTracing(pid) }()
	select {
	case h := <-holds:
		t.Fatalf("isTracing returned %v while the target is traced", h)
	case <-time.After(10 * leavePause):
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceDetach(pid); err != nil {
		t.Fatal(err)
	}
	if <-holds {
		t.Error("isTracing reports true for a target that was released")
	}
}
