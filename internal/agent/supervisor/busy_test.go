//go:build linux

package supervisor_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// program is testdata/busy, built by the first test that needs it.
var program struct {
	once      sync.Once
	dir, path string
	source    string // path of main.go recorded in the binary
	lines     []string
	err       error
}

// buildProgram builds the program once.
func buildProgram(t testing.TB) {
	t.Helper()
	program.once.Do(func() { program.err = buildBusy() })
	if program.err != nil {
		t.Fatal(program.err)
	}
}

func buildBusy() error {
	dir, err := os.MkdirTemp("", "dapbridge-agent-")
	if err != nil {
		return err
	}
	program.dir, program.path = dir, filepath.Join(dir, "busy")
	if program.source, err = filepath.Abs("testdata/busy/main.go"); err != nil {
		return err
	}
	source, err := os.ReadFile(program.source)
	if err != nil {
		return err
	}
	program.lines = strings.Split(string(source), "\n")
	build := exec.Command("go", "build", "-gcflags", "all=-N -l", "-o", program.path, "./testdata/busy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the target: %w\n%s", err, out)
	}
	return nil
}

// busy is a running testdata/busy.
type busy struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer // may be read once ended is closed
	beats  atomic.Int64
	naps   atomic.Int64 // how often slow has returned
	ended  chan struct{}
}

// startBusy starts a target that runs until the test ends.
func startBusy(t testing.TB) *busy {
	t.Helper()
	buildProgram(t)
	return startProgram(t, program.path)
}

// startProgram starts a build of testdata/busy that runs until the test ends.
func startProgram(t testing.TB, path string) *busy {
	t.Helper()
	b := &busy{t: t, cmd: exec.Command(path), ended: make(chan struct{})}
	b.cmd.Stderr = &b.stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "beat "):
				b.beats.Add(1)
			case strings.HasPrefix(line, "slept "):
				b.naps.Add(1)
			}
		}
		b.cmd.Wait()
	}()
	t.Cleanup(func() {
		b.cmd.Process.Kill()
		<-b.ended
	})
	b.mustBeat(5 * time.Second)
	return b
}

func (b *busy) pid() int { return b.cmd.Process.Pid }

// send writes a command to the target's standard input.
func (b *busy) send(command string) {
	b.t.Helper()
	if _, err := io.WriteString(b.stdin, command+"\n"); err != nil {
		b.t.Fatal(err)
	}
}

// line returns the number of the source line that ends with the mark.
func (b *busy) line(mark string) int {
	b.t.Helper()
	for i, line := range program.lines {
		if strings.HasSuffix(line, "// "+mark) {
			return i + 1
		}
	}
	b.t.Fatalf("no line is marked %q", mark)
	return 0
}

// isAlive reports whether the target has not exited.
func (b *busy) isAlive() bool {
	select {
	case <-b.ended:
		return false
	default:
		return true
	}
}

// mustBeat fails the test unless the heartbeat continues within the time.
func (b *busy) mustBeat(within time.Duration) {
	b.t.Helper()
	from := b.beats.Load()
	if !testenv.Eventually(within, func() bool { return !b.isAlive() || b.beats.Load() >= from+3 }) {
		b.t.Fatalf("the target's heartbeat has stopped at %d", from)
	}
	if !b.isAlive() {
		b.t.Fatalf("the target has ended: %s\n%s", b.cmd.ProcessState, b.stderr.Bytes())
	}
}

// waitForNaps waits until slow has returned the given number of times since naps was
// from: by then the goroutine that the debugger last used has passed anything that the
// debugger left in its way.
func (b *busy) waitForNaps(from, times int64) {
	b.t.Helper()
	if !testenv.Eventually(10*time.Second, func() bool { return !b.isAlive() || b.naps.Load() >= from+times }) {
		b.t.Fatalf("slow has returned %d times, want %d", b.naps.Load()-from, times)
	}
	b.mustBeFree()
}

// mustBeHalted fails the test unless the debugger holds all of the target's threads.
func (b *busy) mustBeHalted() {
	b.t.Helper()
	states, err := procfs.ReadThreadStates(b.pid())
	if err != nil {
		b.t.Fatal(err)
	}
	for tid, state := range states {
		if state != 't' {
			b.t.Errorf("thread %d of the halted target is in state %c", tid, state)
		}
	}
}

// mustBeFree fails the test unless the target is untraced, has no stopped thread and
// the same text as its file, and its heartbeat continues.
func (b *busy) mustBeFree() {
	b.t.Helper()
	if why := b.whyNotFree(); why != "" {
		b.t.Fatalf("the target is not free: %s", why)
	}
	b.mustBeat(5 * time.Second)
}

// waitUntilFree is mustBeFree for a state that is reached within the time.
func (b *busy) waitUntilFree(within time.Duration) {
	b.t.Helper()
	testenv.Eventually(within, func() bool { return !b.isAlive() || b.whyNotFree() == "" })
	b.mustBeFree()
}

// whyNotFree says how the target's state differs from before, "" if it does not.
func (b *busy) whyNotFree() string {
	if !b.isAlive() {
		return fmt.Sprintf("ended: %s\n%s", b.cmd.ProcessState, b.stderr.Bytes())
	}
	if tracer, comm, err := procfs.FindTracer(b.pid()); err != nil || tracer != 0 {
		return fmt.Sprintf("traced by pid %d (%s), %v", tracer, comm, err)
	}
	states, err := procfs.ReadThreadStates(b.pid())
	if err != nil {
		return err.Error()
	}
	for tid, st := range states {
		if st == 'T' || st == 't' {
			return fmt.Sprintf("thread %d is in state %c", tid, st)
		}
	}
	if diff, err := procfs.CompareText(b.pid()); err != nil || len(diff) > 0 {
		return fmt.Sprintf("its text differs from its file: %+v, %v", diff, err)
	}
	return ""
}
