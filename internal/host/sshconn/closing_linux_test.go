package sshconn_test

import (
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// A server that closes sessions in which nothing runs. OpenSSH's here has no
// setting that does it before a command is given, so this one is ours.
func TestReservedSessionIsClosed(t *testing.T) {
	dir := t.TempDir()
	hostKey := newKey(t, "ed25519")
	writePublic(t, filepath.Join(dir, "host"), hostKey)
	writeKey(t, filepath.Join(dir, "id"), newKey(t, "ed25519"))
	closed := make(chan struct{})
	addr := serveClosing(t, hostKey, closed)
	testenv.WriteFile(t, filepath.Join(dir, "known_hosts"), bracket(addr)+" "+testenv.ReadFile(t, filepath.Join(dir, "host.pub")))
	c := dial(t, sshconn.Config{
		Node:       &node.Node{Name: "closing", Addrs: []string{addr}, User: "u", Identities: []string{filepath.Join(dir, "id")}},
		KnownHosts: []string{filepath.Join(dir, "known_hosts")},
	})
	<-closed
	time.Sleep(50 * time.Millisecond) // until we know it too
	stdout, _, exit, err := remote.Run(t.Context(), c, []string{"anything"}, nil)
	if err != nil || exit != 0 || string(stdout) != "here" {
		t.Errorf("%q, exit %d, %v", stdout, exit, err)
	}
}

// serveClosing serves one connection: it closes the first session at once, and
// answers "here" in the others.
func serveClosing(t *testing.T, hostKey any, closed chan<- struct{}) string {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		tcp, err := l.Accept()
		if err != nil {
			return
		}
		_, chans, reqs, err := ssh.NewServerConn(tcp, config)
		if err != nil {
			t.Error(err)
			return
		}
		wg.Go(func() { ssh.DiscardRequests(reqs) })
		first := true
		for open := range chans {
			ch, reqs, err := open.Accept()
			if err != nil {
				return
			}
			if first {
				first = false
				_ = ch.Close()
				close(closed)
			}
			wg.Go(func() { answer(ch, reqs) })
		}
	})
	return l.Addr().String()
}

func answer(ch ssh.Channel, reqs <-chan *ssh.Request) {
	for req := range reqs {
		_ = req.Reply(true, nil)
		_, _ = ch.Write([]byte("here"))
		_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		_ = ch.Close()
	}
}
