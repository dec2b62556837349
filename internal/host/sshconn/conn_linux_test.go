package sshconn_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/remote/remotetest"
)

func TestConn(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remotetest.Conn {
		return dial(t, startSSHD(t, sshdOptions{config: "MaxSessions 40\n"}).config())
	})
}

// A command that a signal ends: SSH names it.
func TestSignal(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	cmd, err := c.Start(t.Context(), []string{"exec", "sh", "-c", "kill -TERM $$"})
	if err != nil {
		t.Fatal(err)
	}
	var exit *remote.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Status != 128 || exit.Signal != "TERM" {
		t.Errorf("Wait: %v", err)
	}
	c.Close()
	if !errors.Is(c.Err(), remote.ErrClosed) {
		t.Errorf("Err: %v", c.Err())
	}
}

func TestLostConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	p, cfg := behindProxy(t, s)
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
	if _, _, _, err := remote.Run(t.Context(), c, []string{"true"}, nil); diag.CodeOf(err) != diag.LinkLost {
		t.Errorf("Run: %v", err)
	}
}

// TestClosedWhenLost closes connections as soon as a command's output ends, since they
// were cut: that they were lost is the reason still.
func TestClosedWhenLost(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	for range 20 {
		p, cfg := behindProxy(t, s)
		c := dial(t, cfg)
		cmd, err := c.Start(t.Context(), []string{"cat"})
		if err != nil {
			t.Fatal(err)
		}
		go p.cut()
		_, _ = cmd.Stdout.Read(make([]byte, 1))
		c.Close()
		if diag.CodeOf(c.Err()) != diag.LinkLost {
			t.Fatalf("Err: %v", c.Err())
		}
	}
}

// A line that passes nothing any more, and says nothing of it.
func TestSilentConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	p, cfg := behindProxy(t, s)
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
