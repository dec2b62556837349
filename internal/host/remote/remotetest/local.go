package remotetest

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Local is a connection to this machine. A shell runs the commands, as on a node that
// is reached by SSH.
type Local struct {
	// OnStart is called with the process of each command; it may be nil.
	OnStart func(*os.Process)
}

// Name implements [remote.Conn].
func (Local) Name() string { return "this machine" }

// AsRoot implements [remote.Conn]. Commands run as the current user.
func (Local) AsRoot(argv []string) []string { return argv }

// ExplainRefusal implements [remote.Conn].
func (Local) ExplainRefusal([]byte) *diag.Error { return nil }

// Remedy implements [remote.Conn].
func (Local) Remedy() string { return "" }

// IdleTimeout implements [remote.Conn].
func (Local) IdleTimeout() time.Duration { return time.Minute }

// Start implements [remote.Conn].
func (l Local) Start(_ context.Context, argv []string) (*remote.Cmd, error) {
	cmd := exec.Command("sh", "-c", "exec "+remote.Quote(argv))
	var ours, theirs [3]*os.File
	for i := range ours {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if ours[i], theirs[i] = r, w; i == 0 {
			ours[i], theirs[i] = w, r
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err := cmd.Start()
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	if l.OnStart != nil {
		l.OnStart(cmd.Process)
	}
	p := &localProcess{cmd: cmd, ours: ours, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return &remote.Cmd{Stdin: ours[0], Stdout: localOutput{ours[1]}, Stderr: localOutput{ours[2]}, Process: p}, nil
}

type localProcess struct {
	cmd  *exec.Cmd
	ours [3]*os.File
	done chan struct{}
	err  error // once done is closed
}

func (p *localProcess) Wait() error {
	<-p.done
	var exit *exec.ExitError
	switch {
	case !errors.As(p.err, &exit):
		return p.err
	case exit.ExitCode() < 0:
		return &remote.ExitError{Status: 128, Signal: exit.String()}
	}
	return &remote.ExitError{Status: exit.ExitCode()}
}

func (p *localProcess) ExitStatus() int {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

func (p *localProcess) Close() {
	for _, f := range p.ours {
		f.Close()
	}
}

func (p *localProcess) Go(f func()) bool { go f(); return true }

func (p *localProcess) Cause(err error) error { return err }

// localOutput ends when it is closed, as an SSH channel does.
type localOutput struct{ f *os.File }

func (o localOutput) Read(p []byte) (int, error) {
	n, err := o.f.Read(p)
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}
