package bridge

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestRefuse(t *testing.T) {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); Refuse(ours, errors.New("there is no node")) }()
	i := ide{newWire(t, theirs)}
	i.expectRefusal(i.request("initialize", `{}`), "initialize", "there is no node")
	<-done
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("then: %v", err)
	}
	for _, silent := range []string{"", "GET / HTTP/1.1\r\n\r\n", "Content-Length: 2\r\n\r\n{}"} {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); Refuse(ours, errors.New("no")) }()
		io.WriteString(theirs, silent)
		if silent == "" {
			theirs.Close()
		}
		if got, _ := io.ReadAll(theirs); len(got) > 0 {
			t.Errorf("%q was answered by %q", silent, got)
		}
		<-done
	}
}

// TestServeConn serves one client, whose peer is not checked.
func TestServeConn(t *testing.T) {
	n := newNode(t)
	srv := NewServer(Config{Dialer: n, CheckPeer: func(net.Conn) error { return errors.New("nobody") }})
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); srv.ServeConn(t.Context(), ours) }()
	i := ide{newWire(t, theirs)}
	node := i.attach(n)
	theirs.Close()
	node.waitEnded()
	<-done
}
