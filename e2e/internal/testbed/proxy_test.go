package testbed

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestDelay checks exact delays: in a synctest bubble, the clock advances only when all
// goroutines wait.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client, server := newPipes(t)
		const delay = 20 * time.Millisecond
		p.Delay(delay)
		start := time.Now()
		checkExchange(t, client, server, "there")
		if got := time.Since(start); got != delay {
			t.Errorf("one way took %v, want %v", got, delay)
		}
		checkExchange(t, server, client, "back")
		if got := time.Since(start); got != 2*delay {
			t.Errorf("there and back took %v, want %v", got, 2*delay)
		}
	})
}

func TestDelayDoesNotLimitThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client, server := newPipes(t)
		const delay, size = 100 * time.Millisecond, 8 << 20
		p.Delay(delay)
		sent := make([]byte, size)
		rand.Read(sent)
		start := time.Now()
		go client.Write(sent)
		got := make([]byte, size)
		if _, err := io.ReadFull(server, got); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != delay {
			t.Errorf("%d bytes took %v, want the delay alone, %v", size, took, delay)
		}
		if !bytes.Equal(sent, got) {
			t.Error("the received bytes differ from those sent")
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client, server := newPipes(t)
		p.Rate(1000)
		start := time.Now()
		checkExchange(t, client, server, string(make([]byte, 3000)))
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("3000 bytes at 1000 a second took %v", got)
		}
		p.Rate(0)
		start = time.Now()
		checkExchange(t, client, server, string(make([]byte, 3000)))
		if got := time.Since(start); got != 0 {
			t.Errorf("without a limit they took %v", got)
		}
	})
}

func TestStallLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client, server := newPipes(t)
		checkExchange(t, client, server, "before")
		p.Stall()
		go client.Write([]byte("during"))
		arrived := make(chan string)
		go func() {
			got := make([]byte, len("during"))
			io.ReadFull(server, got)
			arrived <- string(got)
		}()
		select {
		case got := <-arrived:
			t.Fatalf("%q came through a stalled link", got)
		case <-time.After(time.Hour):
		}
		p.Resume()
		if got := <-arrived; got != "during" {
			t.Errorf("received %q after the stall, want %q", got, "during")
		}
		checkExchange(t, server, client, "after")
	})
}

func TestCutReachesAStalledConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client, server := newPipes(t)
		p.Stall()
		p.Cut()
		for _, c := range []net.Conn{client, server} {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("a read from a cut connection succeeded")
			}
		}
	})
}

func TestProxyOverTCP(t *testing.T) {
	p := newEchoProxy(t)
	c := dial(t, p.Addr())
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	go func() {
		c.Write(sent)
		c.(*net.TCPConn).CloseWrite() // must arrive as the end of the stream
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("the %d echoed bytes differ from the %d sent", len(got), len(sent))
	}
}

func TestCutResetsExistingConnectionsOnly(t *testing.T) {
	p := newEchoProxy(t)
	old := dial(t, p.Addr())
	checkEcho(t, old)
	p.Cut()
	if _, err := old.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a cut connection ended with %v, want a reset", err)
	}
	checkEcho(t, dial(t, p.Addr()))

	p.CutNew(true)
	if !isRefused(p.Addr()) {
		t.Error("a new connection was accepted after CutNew(true)")
	}
	p.CutNew(false)
	checkEcho(t, dial(t, p.Addr()))
}

func TestNewConnectionsWaitForAStallToEnd(t *testing.T) {
	p := newEchoProxy(t)
	p.Stall()
	c := dial(t, p.Addr())
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("an answer came through a stalled link")
	}
	c.SetReadDeadline(time.Time{})
	p.Resume()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("after the stall: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	p := newEchoProxy(t)
	p.Delay(time.Hour)
	c := dial(t, p.Addr())
	if _, err := c.Write([]byte("never arrives")); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n := p.Conns(); n != 0 {
		t.Errorf("%d connections are still open", n)
	}
}

func TestMissingServerResetsTheClient(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := free.Addr().String()
	free.Close()
	p, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if !isRefused(p.Addr()) {
		t.Error("a read succeeded without a server")
	}
}

// isRefused reports whether connecting to addr, or reading from the connection, fails.
func isRefused(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return true
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	return err != nil
}

// newPipes returns a proxy between two in-memory connections.
func newPipes(t *testing.T) (p *Proxy, client, server net.Conn) {
	p = newProxy()
	client, clientSide := net.Pipe()
	serverSide, server := net.Pipe()
	pair := p.add(clientSide)
	pair.attach(serverSide)
	p.wg.Go(func() {
		defer p.remove(pair)
		p.relay(pair)
	})
	t.Cleanup(func() {
		p.Close()
		client.Close()
		server.Close()
	})
	return p, client, server
}

// checkExchange sends text and checks that it arrives.
func checkExchange(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	go from.Write([]byte(text))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Fatalf("received %q, want %q", got, text)
	}
}

// newEchoProxy returns a proxy in front of an echo server.
func newEchoProxy(t *testing.T) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	p, err := NewProxy(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func checkEcho(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("echo")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != "echo" {
		t.Fatalf("received %q, want an echo", got)
	}
}
