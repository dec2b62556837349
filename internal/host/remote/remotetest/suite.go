// Package remotetest holds what every connection to a node must do, whatever
// carries it.
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

// Conn is a connection with an end.
type Conn interface {
	remote.Conn
	Done() <-chan struct{}
	Close() error
}

// Run tests connections that dial makes, to a machine with a POSIX shell's
// tools.
func Run(t *testing.T, dial func(t *testing.T) Conn) {
	for name, test := range map[string]func(*testing.T, Conn){
		"run": run, "limits": runLimits, "streams": streams, "exit": exit, "command closed": cmdClose,
		"closed": closeEndsAll, "closed under a write": closeWhileWriting, "many": manyCommands,
	} {
		t.Run(name, func(t *testing.T) { test(t, dial(t)) })
	}
}

func run(t *testing.T, c Conn) {
	odd := []string{"", " ", "'", `"`, "a'b", `\`, "$HOME", "`id`", "*", "~", "-n", "a\nb", "ä", "a=b", ";", "!x"}
	stdout, stderr, exit, err := remote.Run(t.Context(), c, append([]string{"sh", "-c", `printf '%s\0' "$@"; echo oops >&2; cat; exit 7`, "sh"}, odd...), strings.NewReader("in"))
	if err != nil || exit != 7 || string(stderr) != "oops\n" {
		t.Errorf("exit %d, err %v, stderr %q", exit, err, stderr)
	}
	if want := strings.Join(odd, "\x00") + "\x00in"; string(stdout) != want {
		t.Errorf("stdout\n%q, want\n%q", stdout, want)
	}
}

func runLimits(t *testing.T, c Conn) {
	if _, _, _, err := remote.Run(t.Context(), c, []string{"cat", "/dev/zero"}, nil); err == nil || !strings.Contains(err.Error(), "bytes of output") {
		t.Errorf("an endless output: %v", err)
	}
	if _, _, _, err := remote.Run(t.Context(), c, []string{"echo", "a\x00b"}, nil); err == nil {
		t.Error("a NUL byte was taken")
	}
	if _, _, exit, err := remote.Run(t.Context(), c, []string{"true"}, strings.NewReader(strings.Repeat("x", 8<<20))); err != nil || exit != 0 {
		t.Errorf("a command that does not read its input: exit %d, err %v", exit, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, _, _, err := remote.Run(ctx, c, []string{"sleep", "30"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that takes too long: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the context ended Run after %v", took)
	}
}

func streams(t *testing.T, c Conn) {
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
	if err != nil || n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d bytes came back, err %v", n, err)
	}
	if err := cmd.Wait(); err != nil || cmd.ExitStatus() != 0 {
		t.Errorf("Wait: %v, status %d", err, cmd.ExitStatus())
	}
}

func exit(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"sh", "-c", "exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	var exit *remote.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Status != 3 || cmd.ExitStatus() != 3 {
		t.Errorf("Wait: %v, status %d", err, cmd.ExitStatus())
	}
}

// cmdClose sees that a command that reads its input ends when it is closed.
func cmdClose(t *testing.T, c Conn) {
	cmd, err := c.Start(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, cmd.Close)
	begin := time.Now()
	if n, err := cmd.Stdout.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read: %d, %v", n, err)
	}
	_ = cmd.Wait() // cat ends well; that it is told is not sure
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the reader waited for %v", took)
	}
	select {
	case <-c.Done():
		t.Error("the connection ended")
	default:
	}
}

func closeEndsAll(t *testing.T, c Conn) {
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
		t.Errorf("Wait: %v", err)
	}
	<-c.Done()
	if _, err := c.Start(t.Context(), []string{"true"}); !errors.Is(err, remote.ErrClosed) {
		t.Errorf("Start: %v", err)
	}
}

// closeWhileWriting sees that a writer that waits for the other side does not
// keep Close waiting.
func closeWhileWriting(t *testing.T, c Conn) {
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
		t.Fatalf("sleep took it all: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	begin := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-written; err == nil {
		t.Error("Write has no error")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func manyCommands(t *testing.T, c Conn) {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				if stdout, _, exit, err := remote.Run(t.Context(), c, []string{"cat"}, strings.NewReader("x")); err != nil || exit != 0 || string(stdout) != "x" {
					t.Errorf("%q, exit %d, %v", stdout, exit, err)
				}
			}
		})
	}
	wg.Wait()
}
