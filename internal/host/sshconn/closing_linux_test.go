package sshconn_test

import (
	"net"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// A server may close a session that runs no command. This OpenSSH has no setting that
// closes one before its command starts, so the server is one of ours.
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
	stdout, _, exit, err := remote.Run(t.Context(), c, []string{"anything"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if exit != 0 {
		t.Errorf("exit status %d, want 0", exit)
	}
	if want := "here"; string(stdout) != want {
		t.Errorf("stdout %q, want %q", stdout, want)
	}
}

// serveClosing serves one connection: it closes the first session at once, and
// writes "here" in the others. closed is closed when the client has seen the first
// one close.
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
		sc, chans, reqs, err := ssh.NewServerConn(tcp, config)
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
				_, _, _ = sc.SendRequest("barrier", true, nil) // the client handles messages in order
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
