package sshconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// proxyGrace bounds how long to wait for the error output of a proxy command that has
// closed its streams.
const proxyGrace = time.Second

// maxProxyOutput bounds how much of a proxy command's error output is kept.
const maxProxyOutput = 4 << 10

// proxyConn is a connection through a command's standard input and output
// (ssh_config, ProxyCommand).
type proxyConn struct {
	io.ReadCloser
	io.WriteCloser
	addr net.Addr
	cmd  *exec.Cmd

	stderr     firstBytes
	stderrDone chan struct{} // closed when stderr has ended

	closeOnce sync.Once
}

// dialProxy starts a proxy command, which ends with the connection.
func dialProxy(argv []string, addr string) (net.Conn, error) {
	p := &proxyConn{addr: proxyAddr(addr), cmd: exec.Command(argv[0], argv[1:]...), stderrDone: make(chan struct{})}
	var err error
	if p.WriteCloser, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.ReadCloser, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the proxy command: %w", err)
	}
	go func() {
		defer close(p.stderrDone)
		io.Copy(&p.stderr, stderr) // ends with Close at the latest
	}()
	return p, nil
}

func (p *proxyConn) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	return n, p.explain(err)
}

func (p *proxyConn) Write(b []byte) (int, error) {
	n, err := p.WriteCloser.Write(b)
	return n, p.explain(err)
}

// explain adds the command's error output to the error of a stream that the command
// has closed.
func (p *proxyConn) explain(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	select {
	case <-p.stderrDone:
	case <-time.After(proxyGrace):
	}
	if line := p.stderr.line(); line != "" {
		return fmt.Errorf("the proxy command failed: %q: %w", line, err)
	}
	return fmt.Errorf("the proxy command has ended: %w", err)
}

// Close ends the command and waits for it.
func (p *proxyConn) Close() error {
	p.closeOnce.Do(func() {
		p.WriteCloser.Close()
		p.cmd.Process.Kill() // fails only if the command has already ended
		p.cmd.Wait()
		<-p.stderrDone
	})
	return nil
}

func (p *proxyConn) LocalAddr() net.Addr  { return p.addr }
func (p *proxyConn) RemoteAddr() net.Addr { return p.addr }

// Pipes have no deadlines here: Dial closes the connection instead.
func (p *proxyConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (p *proxyConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (p *proxyConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// proxyAddr is the address to which the proxy connects.
type proxyAddr string

func (proxyAddr) Network() string  { return "tcp" }
func (a proxyAddr) String() string { return string(a) }

// firstBytes keeps the first maxProxyOutput bytes that are written to it.
type firstBytes struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

func (f *firstBytes) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept.Write(p[:min(len(p), maxProxyOutput-f.kept.Len())])
	return len(p), nil
}

// line returns the first line that was written.
func (f *firstBytes) line() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(f.kept.String()), "\n")
	return strings.TrimSpace(line)
}
