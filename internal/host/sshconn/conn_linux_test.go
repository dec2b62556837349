package sshconn_test

import (
	"errors"
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

// For a command that a signal has ended, SSH reports the signal's name.
func TestSignal(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	cmd, err := c.Start(t.Context(), []string{"exec", "sh", "-c", "kill -TERM $$"})
	if err != nil {
		t.Fatal(err)
	}
	var exit *remote.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("Wait: %v, want an ExitError", err)
	}
	if want := (remote.ExitError{Status: 128, Signal: "TERM"}); *exit != want {
		t.Errorf("Wait: %+v, want %+v", *exit, want)
	}
	c.Close()
	if !errors.Is(c.Err(), remote.ErrClosed) {
		t.Errorf("Err: %v, want %v", c.Err(), remote.ErrClosed)
	}
}

func checkCode(t *testing.T, what string, err error, want diag.Code) {
	t.Helper()
	if got := diag.CodeOf(err); got != want {
		t.Errorf("%s: %v with code %s, want %s", what, err, got, want)
	}
}

func TestLostConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	p, cfg := startProxyFor(t, s)
	c := dial(t, cfg)
	cmd, err := c.Start(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	p.cut()
	checkCode(t, "Wait", cmd.Wait(), diag.LinkLost)
	checkCode(t, "Err", c.Err(), diag.LinkLost)
	_, _, _, err = remote.Run(t.Context(), c, []string{"true"}, nil)
	checkCode(t, "Run", err, diag.LinkLost)
}

// If a connection is closed as soon as a command's output ends because the connection
// was cut, Err still reports that it was lost.
func TestCloseOfLostConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	for range 20 {
		p, cfg := startProxyFor(t, s)
		c := dial(t, cfg)
		cmd, err := c.Start(t.Context(), []string{"cat"})
		if err != nil {
			t.Fatal(err)
		}
		go p.cut()
		_, _ = cmd.Stdout.Read(make([]byte, 1))
		c.Close()
		checkCode(t, "Err", c.Err(), diag.LinkLost)
	}
}

// A connection that silently drops everything is noticed, and one that is merely idle
// stays.
func TestSilentConnection(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	p, cfg := startProxyFor(t, s)
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
	checkCode(t, "Err", c.Err(), diag.LinkLost)
	checkContains(t, c.Err().Error(), "nothing received for 200ms")
}

// Commands run on a server that allows a single session, and on one that closes
// sessions which are unused for a second.
func TestSessionLimits(t *testing.T) {
	for _, config := range []string{"MaxSessions 1\n", "ChannelTimeout session*=1\n"} {
		c := dial(t, startSSHD(t, sshdOptions{config: config}).config())
		for range 2 {
			time.Sleep(1500 * time.Millisecond) // until the previous session is free, and the unused one closed
			checkOutput(t, c, "echo here", "here\n")
		}
	}
}
