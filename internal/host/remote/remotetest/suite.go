// Package remotetest is the conformance suite for implementations of [remote.Conn].
package remotetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Conn is a connection that can be closed.
type Conn interface {
	remote.Conn
	Done() <-chan struct{}
	Close() error
}

// Run tests connections from dial, which lead to a machine with a POSIX shell and its
// tools.
func Run(t *testing.T, dial func(t *testing.T) Conn) {
	for name, test := range map[string]func(*testing.T, Conn){
		"run": testRun, "output limit": testOutputLimit, "NUL byte": testNUL, "unread input": testUnreadInput,
		"run timeout": testRunTimeout, "streams": testStreams, "exit": testExit, "command closed": testCommandClose,
		"closed": testClose, "closed during a write": testCloseDuringWrite, "many commands": testManyCommands,
	} {
		t.Run(name, func(t *testing.T) { test(t, dial(t)) })
	}
}

// maxWait bounds operations that must not wait for a command that runs for longer.
const maxWait = 5 * time.Second

// checkRun checks the results of remote.Run.
func checkRun(t *testing.T, exit, wantExit int, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("Run: %v", err)
	}
	if exit != wantExit {
		t.Errorf("exit status %d, want %d", exit, wantExit)
	}
}

func checkTook(t *testing.T, begin time.Time, what string) {
	t.Helper()
	if took := time.Since(begin); took > maxWait {
		t.Errorf("%s took %v", what, took)
	}
}

func testRun(t *testing.T, c Conn) {
	odd := []string{"", " ", "'", `"`, "a'b", `\`, "$HOME", "`id`", "*", "~", "-n", "a\nb", "ä", "a=b", ";", "!x"}
	stdout, stderr, exit, err := remote.Run(t.Context(), c, append([]string{"sh", "-c", `printf '%s\0' "$@"; echo oops >&2; cat; exit 7`, "sh"}, odd...), strings.NewReader("in"))
	checkRun(t, exit, 7, err)
	if want := "oops\n"; string(stderr) != want {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
	if want := strings.Join(odd, "\x00") + "\x00in"; string(stdout) != want {
		t.Errorf("stdout\n%q, want\n%q", stdout, want)
	}
}

func testOutputLimit(t *testing.T, c Conn) {
	_, _, _, err := remote.Run(t.Context(), c, []string{"cat", "/dev/zero"}, nil)
	if err == nil || !strings.Contains(err.Error(), "bytes of output") {
		t.Errorf("endless output: %v", err)
	}
}

func testNUL(t *testing.T, c Conn) {
	if _, _, _, err := remote.Run(t.Context(), c, []string{"echo", "a\x00b"}, nil); err == nil {
		t.Error("no error for an argument with a NUL byte")
	}
}

// A command need not read its input.
func testUnreadInput(t *testing.T, c Conn) {
	_, _, exit, err := remote.Run(t.Context(), c, []string{"true"}, strings.NewReader(strings.Repeat("x", 8<<20)))
	checkRun(t, exit, 0, err)
}

func testRunTimeout(t *testing.T, c Conn) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, _, _, err := remote.Run(ctx, c, []string{"sleep", "30"}, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v, want %v", err, context.DeadlineExceeded)
	}
	checkTook(t, begin, "Run")
}

func testStreams(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	sent, got := sha256.New(), sha256.New()
	var wg sync.WaitGroup
	wg.Go(func() {
		src := io.TeeReader(io.LimitReader(rand.Reader, size), sent)
		if _, err := io.CopyBuffer(struct{ io.Writer }{cmd.Stdin}, src, make([]byte, 256<<10)); err != nil {
			t.Error(err)
		}
		if err := cmd.Stdin.Close(); err != nil {
			t.Error(err)
		}
	})
	n, err := io.Copy(got, cmd.Stdout)
	wg.Wait()
	if err != nil {
		t.Errorf("read the output: %v", err)
	}
	if n != size {
		t.Errorf("%d bytes came back, want %d", n, size)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("the output differs from the input")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if status := cmd.ExitStatus(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

func testExit(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"sh", "-c", "exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	var exit *remote.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Status != 3 {
		t.Errorf("Wait: %v, want exit status 3", err)
	}
	if status := cmd.ExitStatus(); status != 3 {
		t.Errorf("exit status %d, want 3", status)
	}
}

// A command that reads its input ends when it is closed. The connection does not.
func testCommandClose(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, cmd.Close)
	begin := time.Now()
	if n, err := cmd.Stdout.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read: %d, %v, want 0, %v", n, err, io.EOF)
	}
	_ = cmd.Wait() // cat succeeds, but its status may be lost
	checkTook(t, begin, "Read")
	select {
	case <-c.Done():
		t.Error("the connection ended")
	default:
	}
}

func testClose(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(cmd.Stdout); err != nil {
		t.Errorf("Stdout: %v", err)
	}
	if err := cmd.Wait(); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Wait: %v, want %v", err, remote.ErrClosed)
	}
	<-c.Done()
	if _, err := c.Start(t.Context(), []string{"true"}); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Start: %v, want %v", err, remote.ErrClosed)
	}
}

// A blocked Write does not block Close.
func testCloseDuringWrite(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"sleep", "30"})
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := cmd.Stdin.Write(make([]byte, 64<<20))
		written <- err
	}()
	select {
	case err := <-written:
		t.Fatalf("Write did not block: %v", err)
	case <-time.After(200 * time.Millisecond): // it is most likely blocked now
	}
	begin := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-written; err == nil {
		t.Error("Write: no error after Close")
	}
	checkTook(t, begin, "Close")
}

func testManyCommands(t *testing.T, c Conn) {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				stdout, _, exit, err := remote.Run(t.Context(), c, []string{"cat"}, strings.NewReader("x"))
				checkRun(t, exit, 0, err)
				if string(stdout) != "x" {
					t.Errorf("stdout %q, want %q", stdout, "x")
				}
			}
		})
	}
	wg.Wait()
}
