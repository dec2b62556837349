package sshconn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// process is the session channel of a command. Its streams are the channel itself,
// without a goroutine or a buffer in between: one Write of up to 32 KiB is one packet and
// one system call, and the two outputs share one window of 2 MiB.
type process struct {
	conn *Conn
	ch   ssh.Channel
	done chan struct{}

	// Set before done is closed.
	status int
	signal string
}

// Start implements [remote.Conn]. Each command has its own session channel.
func (c *Conn) Start(ctx context.Context, argv []string) (*remote.Cmd, error) {
	line := remote.Quote(argv)
	if strings.IndexByte(line, 0) >= 0 {
		return nil, fmt.Errorf("run %s on %s: an argument contains a NUL byte", remote.Abbreviate(argv), c.node.Name)
	}
	ctx, timer := remote.WithIdleTimeout(ctx, c, "reply to the start of a command")
	defer timer.Stop()
	p, err := do(ctx, c, func() (*process, error) { return c.open(line) }, (*process).Close)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", remote.Abbreviate(argv), c.node.Name, err)
	}
	return &remote.Cmd{Stdin: stdin{p.ch}, Stdout: p.ch, Stderr: p.ch.Stderr(), Process: p}, nil
}

// session is an SSH session channel that does not run a command yet.
type session struct {
	ch   ssh.Channel
	reqs <-chan *ssh.Request
}

// reserve opens a session in advance, which saves the next command a round trip.
func (c *Conn) reserve() {
	c.spawn(func() {
		ch, reqs, err := c.ssh.OpenChannel("session", nil)
		if err != nil {
			return // the next command will report it
		}
		select {
		case c.spare <- session{ch, reqs}:
		default:
			_ = ch.Close()
		}
	})
}

// open runs a command in the reserved session, or in a new one. It must be called in a
// goroutine that c owns.
func (c *Conn) open(line string) (*process, error) {
	select {
	case s := <-c.spare:
		c.reserve()
		p, err := c.exec(s, line)
		if !errors.Is(err, io.EOF) {
			return p, err
		}
		// The server has closed it because it was unused.
	default:
	}
	ch, reqs, err := c.ssh.OpenChannel("session", nil)
	if err != nil {
		return nil, c.cause(err)
	}
	p, err := c.exec(session{ch, reqs}, line)
	if err != nil {
		return nil, c.cause(err)
	}
	return p, nil
}

// exec runs a command in a session (RFC 4254, section 6.5). Its error is io.EOF if the
// session was closed.
func (c *Conn) exec(s session, line string) (*process, error) {
	p := &process{conn: c, ch: s.ch, done: make(chan struct{}), status: -1}
	c.wg.Go(func() { p.watch(s.reqs) })
	ok, err := s.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = errors.New("the SSH server refuses to run commands")
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// watch handles the channel's requests until it is closed (RFC 4254, section 6.10).
func (p *process) watch(reqs <-chan *ssh.Request) {
	defer close(p.done)
	for req := range reqs {
		switch req.Type {
		case "exit-status":
			if len(req.Payload) >= 4 {
				p.status = int(binary.BigEndian.Uint32(req.Payload))
			}
		case "exit-signal":
			var msg struct {
				Signal     string
				CoreDumped bool
				Error      string
				Lang       string
			}
			if err := ssh.Unmarshal(req.Payload, &msg); err == nil {
				p.signal, p.status = msg.Signal, 128
			}
		}
		_ = req.Reply(false, nil)
	}
}

// Wait implements [remote.Process]. The channel is closed when it returns.
func (p *process) Wait() error {
	<-p.done
	switch {
	case p.status == 0:
		return nil
	case p.status > 0:
		return &remote.ExitError{Status: p.status, Signal: p.signal}
	}
	return p.conn.cause(errors.New("the command's channel was closed before it ended"))
}

// ExitStatus implements [remote.Process].
func (p *process) ExitStatus() int {
	select {
	case <-p.done:
		return p.status
	default:
		return -1
	}
}

// Close implements [remote.Process]. OpenSSH confirms it when the command has ended,
// so a command that ignores the end of its input blocks Wait and readers until the
// connection ends.
func (p *process) Close() { _ = p.ch.Close() }

// Go implements [remote.Process].
func (p *process) Go(f func()) bool { return p.conn.spawn(f) }

// Cause implements [remote.Process].
func (p *process) Cause(err error) error { return p.conn.cause(err) }

// stdin is a channel whose Close closes only our direction.
type stdin struct{ ssh.Channel }

func (s stdin) Close() error { return s.CloseWrite() }
