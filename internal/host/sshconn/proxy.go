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

// proxyGrace is how long a proxy command that has closed its end may take to say
// why.
const proxyGrace = time.Second

// maxProxyOutput bounds what is kept of what a proxy command says.
const maxProxyOutput = 4 << 10

// proxyConn is a connection through a command's standard input and output
// (ssh_config, ProxyCommand).
type proxyConn struct {
	io.ReadCloser
	io.WriteCloser
	addr net.Addr
	cmd  *exec.Cmd

	stderr     firstBytes
	stderrDone chan struct{} // closed when it says no more

	closeOnce sync.Once
}

// dialProxy starts the command. It ends with the connection.
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
		return nil, fmt.Errorf("the proxy: %w", err)
	}
	go func() {
		defer close(p.stderrDone)
		io.Copy(&p.stderr, stderr) // until Close at the latest
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

// explain adds what the command has said to an error of a stream that it has
// closed.
func (p *proxyConn) explain(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	select {
	case <-p.stderrDone:
	case <-time.After(proxyGrace):
	}
	if line := p.stderr.line(); line != "" {
		return fmt.Errorf("the proxy says %q: %w", line, err)
	}
	return fmt.Errorf("the proxy has ended: %w", err)
}

// Close ends the command and returns when it has ended.
func (p *proxyConn) Close() error {
	p.closeOnce.Do(func() {
		p.WriteCloser.Close()
		p.cmd.Process.Kill() // it fails only when the command has ended already
		p.cmd.Wait()
		<-p.stderrDone
	})
	return nil
}

func (p *proxyConn) LocalAddr() net.Addr  { return p.addr }
func (p *proxyConn) RemoteAddr() net.Addr { return p.addr }

// Deadlines are not for pipes: the connection's user closes it instead.
func (p *proxyConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (p *proxyConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (p *proxyConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// proxyAddr is the address that a proxy was asked for.
type proxyAddr string

func (proxyAddr) Network() string  { return "tcp" }
func (a proxyAddr) String() string { return string(a) }

// firstBytes keeps the begin of what is written to it.
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

// line returns the first line.
func (f *firstBytes) line() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(f.kept.String()), "\n")
	return strings.TrimSpace(line)
}
