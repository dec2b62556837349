package execconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// process is the engine's client for one command. The command outlives it: when the
// client ends, the engine only closes the command's standard input and sends no signal
// (moby's container/stream/attach.go, CopyStreams).
type process struct {
	conn    *Conn
	cmd     *exec.Cmd
	streams [3]*os.File // our ends of the pipes
	done    chan struct{}
	status  int // set before done is closed; -1 if a signal ended the client
}

// Start implements [remote.Conn].
func (c *Conn) Start(ctx context.Context, argv []string) (*remote.Cmd, error) {
	p, err := c.start(ctx, argv)
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", remote.Abbreviate(argv), c.node.Name, err)
	}
	return &remote.Cmd{
		Stdin: stdin{p.streams[0]}, Stdout: output{p.streams[1]}, Stderr: output{p.streams[2]}, Process: p,
	}, nil
}

func (c *Conn) start(ctx context.Context, argv []string) (*process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, arg := range argv {
		if !utf8.ValidString(arg) || strings.IndexByte(arg, 0) >= 0 { // JSON, which the engine uses, would change it
			return nil, fmt.Errorf("the argument %q is not UTF-8 text", arg)
		}
	}
	line := c.engine.exec(argv)
	p := &process{conn: c, cmd: exec.Command(line[0], line[1:]...), done: make(chan struct{}), status: -1}
	theirs, err := p.openPipes()
	defer closeAll(theirs[:])
	if err != nil {
		closeAll(p.streams[:])
		return nil, err
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	p.cmd.SysProcAttr = newGroup()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		err = remote.ErrClosed
	} else {
		err = p.cmd.Start()
	}
	if err != nil {
		closeAll(p.streams[:])
		return nil, err
	}
	c.open[p] = struct{}{}
	c.wg.Go(p.wait)
	return p, nil
}

// openPipes creates the pipes for the streams and returns the client's ends.
func (p *process) openPipes() (theirs [3]*os.File, err error) {
	for i := range p.streams {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		p.streams[i], theirs[i] = r, w
		if i == 0 {
			p.streams[i], theirs[i] = w, r
		}
	}
	return theirs, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() // does nothing for nil
	}
}

func (p *process) wait() {
	defer close(p.done)
	p.cmd.Wait() // its error is in the process state
	p.status = p.cmd.ProcessState.ExitCode()
}

// Wait implements [remote.Process].
func (p *process) Wait() error {
	<-p.done
	switch {
	case p.status == 0:
		return nil
	case p.status > 0:
		return &remote.ExitError{Status: p.status}
	}
	return p.conn.cause(diag.Errorf(diag.LinkLost, "%s exec in %s ended: %s", p.conn.engine.Engine, p.conn.engine.Name, p.cmd.ProcessState))
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

// Close implements [remote.Process]. It kills the engine's client.
func (p *process) Close() {
	p.conn.mu.Lock()
	delete(p.conn.open, p)
	p.conn.mu.Unlock()
	closeAll(p.streams[:])
	select {
	case <-p.done: // the pid may belong to another process by now
	default:
		killGroup(p.cmd)
	}
}

// Go implements [remote.Process].
func (p *process) Go(f func()) bool { return p.conn.spawn(f) }

// Cause implements [remote.Process].
func (p *process) Cause(err error) error { return p.conn.cause(err) }

// stdin is a pipe to a command. As with an SSH channel, Write returns io.EOF when
// nothing reads the pipe any more.
type stdin struct{ f *os.File }

func (s stdin) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

func (s stdin) Close() error {
	if err := s.f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// output is a pipe from a command. Read returns io.EOF after the pipe was closed.
type output struct{ f *os.File }

func (o output) Read(p []byte) (int, error) {
	n, err := o.f.Read(p)
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}
