package demo

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const sshUser = "demo" // the only accepted name; commands run as the current user

// sshServer is an SSH server on the loopback interface that runs commands as the
// current user. It accepts one key only, which it generates.
type sshServer struct {
	addr       string // host:port
	keyFile    string // the client's private key
	knownHosts string // the file with the server's key

	config   *ssh.ServerConfig
	commands *commands
	listener net.Listener
	log      *slog.Logger
	loops    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// startSSH starts a server. It creates its keys, home directory and sudo shim in
// dir, which must be private to the user.
func startSSH(dir string, log *slog.Logger) (*sshServer, error) {
	signer, _, err := newKey()
	if err != nil {
		return nil, err
	}
	client, clientPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the demo's SSH server: %w", err)
	}
	s := &sshServer{
		addr: l.Addr().String(), listener: l, log: log, conns: map[net.Conn]struct{}{},
		keyFile: filepath.Join(dir, "id_ed25519"), knownHosts: filepath.Join(dir, "known_hosts"),
		config: serverConfig(signer, client.PublicKey()),
	}
	line := knownhosts.Line([]string{s.addr}, signer.PublicKey()) + "\n"
	s.commands, err = newCommands(dir, log)
	err = errors.Join(err,
		os.WriteFile(s.keyFile, clientPEM, 0o600),
		os.WriteFile(s.knownHosts, []byte(line), 0o600))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.loops.Go(s.accept)
	return s, nil
}

func newKey() (ssh.Signer, []byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "dapbridge demo")
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("use a key: %w", err)
	}
	return signer, pem.EncodeToMemory(block), nil
}

func serverConfig(host ssh.Signer, client ssh.PublicKey) *ssh.ServerConfig {
	want := client.Marshal()
	c := &ssh.ServerConfig{
		PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if m.User() != sshUser || subtle.ConstantTimeCompare(key.Marshal(), want) != 1 {
				return nil, errors.New("not the demo's key")
			}
			return &ssh.Permissions{}, nil
		},
	}
	c.AddHostKey(host)
	return c
}

// Close ends all connections and their commands. Commands have one second to end
// after their streams are closed before they are killed.
func (s *sshServer) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close() // ends serve
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.commands.shutdown(time.Second)
	s.loops.Wait()
	return err
}

func (s *sshServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return // the listener is closed
		}
		s.mu.Lock()
		if s.closed {
			_ = c.Close() // accepted after Close
		} else {
			s.conns[c] = struct{}{}
			s.loops.Go(func() { s.serve(c) })
		}
		s.mu.Unlock()
	}
}

// serve handles one connection until it and everything started for it have ended.
func (s *sshServer) serve(c net.Conn) {
	defer func() {
		_ = c.Close() // possibly a second time
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		s.log.Debug("demo ssh: handshake", "err", err)
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(requests) }) // answers keepalives
	for n := range channels {
		if n.ChannelType() != "session" {
			_ = n.Reject(ssh.UnknownChannelType, "the demo's server only runs commands")
			continue
		}
		ch, reqs, err := n.Accept()
		if err != nil {
			s.log.Debug("demo ssh: channel", "err", err)
			continue
		}
		wg.Go(func() { s.commands.session(ch, reqs) })
	}
	_ = conn.Close()
}
