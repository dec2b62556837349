package sshconn_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// startAgentProcess starts a real ssh-agent with the keys.
func startAgentProcess(t *testing.T, keys ...any) (socket string) {
	t.Helper()
	path, err := exec.LookPath("ssh-agent")
	if err != nil {
		testenv.Skipf(t, "needs ssh-agent: apt-get install openssh-client")
	}
	socket = filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(path, "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var conn net.Conn
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	for i, key := range keys {
		if err := client.Add(agent.AddedKey{PrivateKey: key, Comment: fmt.Sprintf("key %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	return socket
}

// serverFor starts a server that accepts key in addition to its usual one.
func serverFor(t *testing.T, key any) *sshd {
	return startSSHD(t, sshdOptions{before: func(s *sshd) {
		path := filepath.Join(s.dir, "accepted")
		writePublic(t, path, key)
		s.authorize(t, path)
	}})
}

func TestKeyTypes(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		key := newKey(t, kind)
		s := serverFor(t, key)
		file := filepath.Join(s.dir, "mine")
		writeKey(t, file, key)
		cfg := s.config()
		cfg.Node.Identities = []string{file}
		dial(t, cfg)
		cfg.Node.Identities, cfg.Node.UserKeys = nil, true
		cfg.AgentSocket = startAgentProcess(t, key)
		dial(t, cfg)
	}
}

func TestKeyRefused(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	stranger := filepath.Join(s.dir, "stranger")
	writeKey(t, stranger, newKey(t, "ed25519"))
	cfg := s.config()
	cfg.Node.Identities = []string{stranger}
	checkContains(t, checkRefused(t, cfg, diag.KeyRefused).Summary, "for the user "+s.user, stranger+" "+fingerprint(t, stranger+".pub"))
	cfg.Node.Identities, cfg.Node.UserKeys = nil, true
	checkContains(t, checkRefused(t, cfg, diag.KeyRefused).Summary, "no private key")
	cfg.AgentSocket = filepath.Join(s.dir, "no agent")
	checkContains(t, checkRefused(t, cfg, diag.KeyRefused).Summary, "no private key")
}

// The keys of an agent are offered before the file with the right one, and OpenSSH's
// server closes the connection at the sixth.
func TestManyKeys(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	var keys []any
	for range 8 {
		keys = append(keys, newKey(t, "ed25519"))
	}
	cfg := s.config()
	cfg.Node.UserKeys = true
	cfg.AgentSocket = startAgentProcess(t, keys...)
	dial(t, cfg)
	cfg.Node.Identities = nil
	checkContains(t, checkRefused(t, cfg, diag.KeyRefused).Summary, "agent (key 0) SHA256:", "agent (key 7) SHA256:")
}

func TestLockedKey(t *testing.T) {
	key := newKey(t, "ed25519")
	s := serverFor(t, key)
	file := filepath.Join(s.dir, "it's locked")
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := s.config()
	cfg.Node.Identities = []string{file}
	e := checkRefused(t, cfg, diag.IdentityUnusable)
	checkContains(t, e.Summary, file, "passphrase")
	checkContains(t, e.Hint, "ssh-add "+remote.Quote([]string{file}))
	cfg.Node.UserKeys = true
	checkContains(t, checkRefused(t, cfg, diag.KeyRefused).Hint, "ssh-add "+remote.Quote([]string{file}))
	cfg.Node.UserKeys = false
	cfg.AgentSocket = startAgentProcess(t, newKey(t, "ed25519"), key) // what the hint says
	dial(t, cfg)
}

// A locked file in the old format does not contain the public key.
func TestLockedOldKey(t *testing.T) {
	key := newKey(t, "rsa")
	s := serverFor(t, key)
	file := filepath.Join(s.dir, "old")
	writeKey(t, file, key)
	if out, err := exec.Command("ssh-keygen", "-p", "-m", "PEM", "-N", "secret", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cfg := s.config()
	cfg.Node.Identities = []string{file}
	checkContains(t, checkRefused(t, cfg, diag.IdentityUnusable).Summary, "passphrase")
	cfg.AgentSocket = startAgentProcess(t, key)
	dial(t, cfg)
}

func TestIdentityUnusable(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	junk := filepath.Join(s.dir, "junk")
	testenv.WriteFile(t, junk, "junk")
	for _, file := range []string{filepath.Join(s.dir, "missing"), s.dir, junk, s.identity + ".pub"} {
		cfg := s.config()
		cfg.Node.Identities = []string{file}
		checkContains(t, checkRefused(t, cfg, diag.IdentityUnusable).Summary, file)
		cfg.Node.Identities, cfg.Node.UserKeys = []string{file, s.identity}, true
		dial(t, cfg) // default files may be unusable
	}
}

func TestUnreachable(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts connections, and nothing answers
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	web := startWeb(t)

	cfg := s.config()
	cfg.Timeout = 200 * time.Millisecond
	cfg.Node.Remedy = "do this"
	cfg.Node.Addrs = []string{closed, mute.Addr().String(), web, "no.such.host.invalid:22"}
	begin := time.Now()
	e := checkRefused(t, cfg, diag.NodeUnreachable)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	checkContains(t, e.Summary, closed+": connection refused", mute.Addr().String()+": no answer within 200ms", web+": ", "no.such.host.invalid:22: ")
	checkContains(t, e.Hint, "do this")

	cfg.Timeout = 0
	cfg.Node.Addrs = []string{closed, s.addr}
	dial(t, cfg)
}

// startWeb starts a server that does not speak SSH.
func startWeb(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestDialIsCancelled(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	cfg := s.config()
	cfg.Node.Addrs = []string{mute.Addr().String(), s.addr}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	if _, err := sshconn.Dial(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v, want %v", err, context.Canceled)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// The context of Dial does not affect an established connection.
func TestDialContextEnds(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	c, err := sshconn.Dial(ctx, s.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	checkOutput(t, c, "echo alive", "alive\n")
}

func TestNoHome(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	s := startSSHD(t, sshdOptions{})
	cfg := s.config()
	cfg.KnownHosts = nil
	e := checkRefused(t, cfg, diag.HostKeyUnknown)
	checkContains(t, e.Hint, os.Getenv("HOME")+"/.ssh/known_hosts")
}
