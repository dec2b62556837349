package sshconn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// maxOutput bounds each of the outputs that Run collects.
const maxOutput = 1 << 20

// Cmd is a command that runs on the node. Each stream is the SSH channel
// itself, without a goroutine or a buffer of ours in between:
//
//   - One Write to Stdin is one packet and one system call (up to 32 KiB), so a
//     message should be one Write. Writes, and Close, which sends an end of
//     file, must not run at the same time.
//   - Stdout and Stderr share one window of 2 MiB: whoever reads only one of
//     them may stall. Both can be read to their end after the command is gone.
type Cmd struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	Stderr io.Reader

	conn *Conn
	ch   ssh.Channel
	done chan struct{}

	// Set before done is closed.
	status int
	signal string
}

// ExitError says that a command ended with a status other than 0.
type ExitError struct {
	Status int    // 128 and more if a signal ended it
	Signal string // its name without SIG, or empty
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "ended by signal " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// Start runs argv on the node, in a session channel of its own. ctx bounds the
// start alone; the command runs until it ends, or Close.
func (c *Conn) Start(ctx context.Context, argv []string) (*Cmd, error) {
	line := Quote(argv)
	if strings.IndexByte(line, 0) >= 0 {
		return nil, fmt.Errorf("run %s on %s: an argument holds a NUL byte", brief(line), c.node.Name)
	}
	cmd, err := do(ctx, c, func() (*Cmd, error) { return c.open(line) }, (*Cmd).Close)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", brief(line), c.node.Name, err)
	}
	return cmd, nil
}

// brief returns the beginning of a command, for messages.
func brief(line string) string {
	const most = 60
	short, _, cut := strings.Cut(line, "\n")
	if len(short) > most {
		short, cut = strings.ToValidUTF8(short[:most], ""), true
	}
	if cut {
		short += "…"
	}
	return diag.Escape(short)
}

// session is an SSH session channel in which nothing runs yet.
type session struct {
	ch   ssh.Channel
	reqs <-chan *ssh.Request
}

// reserve opens a session ahead of its use, which saves the next command a
// round trip.
func (c *Conn) reserve() {
	c.spawn(func() {
		ch, reqs, err := c.ssh.OpenChannel("session", nil)
		if err != nil {
			return // the next command will see for itself
		}
		select {
		case c.spare <- session{ch, reqs}:
		default:
			_ = ch.Close()
		}
	})
}

// open runs a command in the reserved session, or in a new one. It must be
// called in a goroutine that c owns.
func (c *Conn) open(line string) (*Cmd, error) {
	select {
	case s := <-c.spare:
		c.reserve()
		cmd, err := c.exec(s, line)
		if !errors.Is(err, io.EOF) {
			return cmd, err
		}
		// The server has closed it, as one that nobody used.
	default:
	}
	ch, reqs, err := c.ssh.OpenChannel("session", nil)
	if err != nil {
		return nil, c.lost(err)
	}
	cmd, err := c.exec(session{ch, reqs}, line)
	if err != nil {
		return nil, c.lost(err)
	}
	return cmd, nil
}

// exec runs a command in a session (RFC 4254, section 6.5). Its error is io.EOF
// if the session is closed.
func (c *Conn) exec(s session, line string) (*Cmd, error) {
	cmd := &Cmd{
		Stdin:  stdin{s.ch},
		Stdout: s.ch,
		Stderr: s.ch.Stderr(),
		conn:   c,
		ch:     s.ch,
		done:   make(chan struct{}),
		status: -1,
	}
	c.wg.Go(func() { cmd.watch(s.reqs) })
	ok, err := s.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = errors.New("the SSH server refuses to run commands")
	}
	if err != nil {
		cmd.Close()
		return nil, err
	}
	return cmd, nil
}

// watch takes the channel's requests until it ends (RFC 4254, section 6.10).
func (cmd *Cmd) watch(reqs <-chan *ssh.Request) {
	defer close(cmd.done)
	for req := range reqs {
		switch req.Type {
		case "exit-status":
			if len(req.Payload) >= 4 {
				cmd.status = int(binary.BigEndian.Uint32(req.Payload))
			}
		case "exit-signal":
			var msg struct {
				Signal     string
				CoreDumped bool
				Error      string
				Lang       string
			}
			if err := ssh.Unmarshal(req.Payload, &msg); err == nil {
				cmd.signal, cmd.status = msg.Signal, 128
			}
		}
		_ = req.Reply(false, nil)
	}
}

// Wait returns when the command has ended and its channel is closed: nil for
// status 0, an *ExitError for another, the connection's Err if that ended
// first. It does not consume output.
func (cmd *Cmd) Wait() error {
	<-cmd.done
	switch {
	case cmd.status == 0:
		return nil
	case cmd.status > 0:
		return &ExitError{Status: cmd.status, Signal: cmd.signal}
	}
	return cmd.conn.lost(errors.New("the command's channel was closed before it ended"))
}

// ExitStatus returns the command's exit status, or -1 while it runs and if it
// is not known.
func (cmd *Cmd) ExitStatus() int {
	select {
	case <-cmd.done:
		return cmd.status
	default:
		return -1
	}
}

// Close closes the channel without waiting for the command, which sees the
// ends of its streams. OpenSSH answers when the command has ended, so a command
// that does not mind keeps Wait and readers waiting until the connection's end.
// Close may be called at any time, from any goroutine.
func (cmd *Cmd) Close() { _ = cmd.ch.Close() }

// stdin is a channel whose Close closes only our side.
type stdin struct{ ssh.Channel }

func (s stdin) Close() error { return s.CloseWrite() }

// Run runs argv to its end and returns what it wrote, each stream up to 1 MiB
// (more is an error), and its exit status. A status other than 0 is no error.
// stdin may be nil; it must come to an end by itself, and not be used again
// after an error.
func (c *Conn) Run(ctx context.Context, argv []string, stdin io.Reader) (stdout, stderr []byte, exit int, err error) {
	cmd, err := c.Start(ctx, argv)
	if err != nil {
		return nil, nil, -1, err
	}
	defer cmd.Close()
	out, err := do(ctx, c, func() (output, error) { return cmd.collect(stdin) }, nil)
	if err != nil {
		return out.stdout, out.stderr, -1, fmt.Errorf("run %s on %s: %w", brief(Quote(argv)), c.node.Name, c.lost(err))
	}
	return out.stdout, out.stderr, cmd.ExitStatus(), nil
}

type output struct{ stdout, stderr []byte }

// collect feeds stdin to the command and reads both streams to their ends.
func (cmd *Cmd) collect(stdin io.Reader) (output, error) {
	var out output
	var inErr, outErr, errErr error
	var wg sync.WaitGroup
	wg.Go(func() { inErr = cmd.feed(stdin) })
	wg.Go(func() { out.stderr, errErr = cmd.read(cmd.Stderr) })
	out.stdout, outErr = cmd.read(cmd.Stdout)
	wg.Wait()
	if err := errors.Join(inErr, outErr, errErr); err != nil {
		return out, err
	}
	var exit *ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return out, err
	}
	return out, nil
}

// feed copies r to the command's input. That the command ended before it has
// read everything is no error.
func (cmd *Cmd) feed(r io.Reader) error {
	if r != nil {
		if _, err := io.Copy(cmd.Stdin, r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			cmd.Close()
			return err
		}
	}
	if err := cmd.Stdin.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (cmd *Cmd) read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxOutput+1))
	if len(data) > maxOutput {
		cmd.Close()
		return data[:maxOutput], fmt.Errorf("more than %d bytes of output", maxOutput)
	}
	return data, err
}
