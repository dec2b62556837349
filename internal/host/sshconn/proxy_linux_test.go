package sshconn_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// proxy is a TCP proxy that can delay, stall or cut its connections.
type proxy struct {
	addr string

	mu    sync.Mutex
	conns []net.Conn
	quiet bool
	left  int64         // bytes towards the server before the connections are cut; negative means no limit
	delay time.Duration // one way
}

// startProxyFor starts a proxy in front of the server, and returns the configuration of a
// client that connects through it.
func startProxyFor(t testing.TB, s *sshd) (*proxy, sshconn.Config) {
	t.Helper()
	p := startProxy(t, s.addr)
	cfg := s.config()
	cfg.Node.Addrs = []string{p.addr}
	cfg.KnownHosts = []string{p.knownHosts(t, s)}
	return p, cfg
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), left: -1}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			wg.Go(func() { p.forward(out, in, true) })
			wg.Go(func() { p.forward(in, out, false) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.cut(); wg.Wait() })
	return p
}

type delayedData struct {
	data []byte
	due  time.Time
}

// forward copies data with the delay, which does not limit the throughput.
func (p *proxy) forward(dst, src net.Conn, up bool) {
	queue := make(chan delayedData, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		for q := range queue {
			time.Sleep(time.Until(q.due))
			_, _ = dst.Write(q.data)
		}
		_ = dst.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		quiet, delay := p.quiet, p.delay
		cut := false
		if up && p.left >= 0 {
			p.left = max(p.left-int64(n), 0)
			cut = p.left == 0
		}
		p.mu.Unlock()
		if cut {
			p.cut()
		} else if !quiet && n > 0 {
			queue <- delayedData{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	wg.Wait()
	_, _ = io.Copy(io.Discard, src)
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = true
}

func (p *proxy) cutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// knownHosts returns a known_hosts file with the server's key at the proxy's address.
func (p *proxy) knownHosts(t testing.TB, s *sshd) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	testenv.WriteFile(t, path, fmt.Sprintf("%s %s", bracket(p.addr), testenv.ReadFile(t, s.hostKey("ed25519")+".pub")))
	return path
}
