package sshconn_test

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

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/sshconn"
)

func TestRun(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	odd := []string{"", " ", "'", `"`, "a'b", `\`, "$HOME", "`id`", "*", "~", "-n", "a\nb", "ä\xff", "a=b", ";", "!x"}
	stdout, stderr, exit, err := c.Run(t.Context(), append([]string{"sh", "-c", `printf '%s\0' "$@"; echo oops >&2; cat; exit 7`, "sh"}, odd...), strings.NewReader("in"))
	if err != nil || exit != 7 || string(stderr) != "oops\n" {
		t.Errorf("exit %d, err %v, stderr %q", exit, err, stderr)
	}
	if want := strings.Join(odd, "\x00") + "\x00in"; string(stdout) != want {
		t.Errorf("stdout\n%q, want\n%q", stdout, want)
	}
}

func TestRunLimits(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	if _, _, _, err := c.Run(t.Context(), []string{"cat", "/dev/zero"}, nil); err == nil || !strings.Contains(err.Error(), "bytes of output") {
		t.Errorf("an endless output: %v", err)
	}
	if _, _, _, err := c.Run(t.Context(), []string{"echo", "a\x00b"}, nil); err == nil {
		t.Error("a NUL byte was taken")
	}
	if _, _, exit, err := c.Run(t.Context(), []string{"true"}, strings.NewReader(strings.Repeat("x", 8<<20))); err != nil || exit != 0 {
		t.Errorf("a command that does not read its input: exit %d, err %v", exit, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, _, _, err := c.Run(ctx, []string{"sleep", "30"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that takes too long: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the context ended Run after %v", took)
	}
}

func TestStreams(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
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

func TestExit(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	for script, want := range map[string]sshconn.ExitError{
		"exit 3":        {Status: 3},
		"kill -TERM $$": {Status: 128, Signal: "TERM"},
	} {
		cmd, err := c.Start(t.Context(), []string{"exec", "sh", "-c", script})
		if err != nil {
			t.Fatal(err)
		}
		var exit *sshconn.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || *exit != want {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// A command that reads its input ends when it is closed.
func TestCmdClose(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
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
	if c.Err() != nil {
		t.Errorf("the connection ended: %v", c.Err())
	}
}

func TestCloseEndsAll(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
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
	if err := cmd.Wait(); !errors.Is(err, sshconn.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	<-c.Done()
	if !errors.Is(c.Err(), sshconn.ErrClosed) {
		t.Errorf("Err: %v", c.Err())
	}
	if _, err := c.Start(t.Context(), []string{"true"}); !errors.Is(err, sshconn.ErrClosed) {
		t.Errorf("Start: %v", err)
	}
}

func TestLostConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	p := startProxy(t, s.addr)
	cfg := s.config()
	cfg.Node.Addrs = []string{p.addr}
	cfg.KnownHosts = []string{p.knownHosts(t, s)}
	c := dial(t, cfg)
	cmd, err := c.Start(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	p.cut()
	if err := cmd.Wait(); diag.CodeOf(err) != diag.LinkLost {
		t.Errorf("Wait: %v", err)
	}
	if diag.CodeOf(c.Err()) != diag.LinkLost {
		t.Errorf("Err: %v", c.Err())
	}
	if _, _, _, err := c.Run(t.Context(), []string{"true"}, nil); diag.CodeOf(err) != diag.LinkLost {
		t.Errorf("Run: %v", err)
	}
}

// A line that passes nothing any more, and says nothing of it.
func TestSilentConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	p := startProxy(t, s.addr)
	cfg := s.config()
	cfg.Node.Addrs = []string{p.addr}
	cfg.KnownHosts = []string{p.knownHosts(t, s)}
	cfg.KeepAlive = 100 * time.Millisecond
	c := dial(t, cfg)
	select {
	case <-c.Done():
		t.Fatalf("an idle connection ended: %v", c.Err())
	case <-time.After(time.Second):
	}
	p.stall()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a dead connection did not end")
	}
	if err := c.Err(); diag.CodeOf(err) != diag.LinkLost || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("Err: %v", err)
	}
}

// A writer that waits for the other side does not keep Close waiting.
func TestCloseWhileWriting(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
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

// A server with room for one session, and one that closes what nobody uses.
func TestSessionLimits(t *testing.T) {
	for _, config := range []string{"MaxSessions 1\n", "ChannelTimeout session*=1\n"} {
		c := dial(t, startSSHD(t, sshdOptions{config: config}).config())
		for range 2 {
			time.Sleep(1500 * time.Millisecond) // longer than the timeout
			if got := output(t, c, "echo here"); got != "here\n" {
				t.Errorf("%s: %q", config, got)
			}
		}
	}
}

func TestManyCommands(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{config: "MaxSessions 40\n"}).config())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				if stdout, _, exit, err := c.Run(t.Context(), []string{"cat"}, strings.NewReader("x")); err != nil || exit != 0 || string(stdout) != "x" {
					t.Errorf("%q, exit %d, %v", stdout, exit, err)
				}
			}
		})
	}
	wg.Wait()
}
