package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func newTestServer(t *testing.T) *sshServer {
	t.Helper()
	s, err := startSSH(filepath.Join(t.TempDir(), "node"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // possibly a second time
	return s
}

func dialTest(t *testing.T, s *sshServer) *ssh.Client {
	t.Helper()
	pem, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	check, err := knownhosts.New(s.knownHosts)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", s.addr, &ssh.ClientConfig{
		User: sshUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: check,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newTestSession(t *testing.T, c *ssh.Client) *ssh.Session {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestExec(t *testing.T) {
	c := dialTest(t, newTestServer(t))
	for _, tc := range []struct{ command, stdin, stdout, stderr, end string }{
		{"echo out; echo err >&2", "", "out\n", "err\n", ""},
		{"cat; exit 7", "from stdin", "from stdin", "", "Process exited with status 7"},
		{"sudo -n -- printf '%s|' 'a b' --", "", "a b|--|", "", ""},
		{"sudo -n true", "", "", "", ""},
		{"kill -9 $$", "", "", "", "Process exited with status 137 from signal \"KILL\""},
		{"no-such-command 2>/dev/null", "", "", "", "Process exited with status 127"},
		{"test $HOME = \"$(pwd)\" && test $(ps -o sid= $$) = $$", "", "", "", ""},
	} {
		s := newTestSession(t, c)
		var stdout, stderr bytes.Buffer
		s.Stdin, s.Stdout, s.Stderr = strings.NewReader(tc.stdin), &stdout, &stderr
		end := ""
		if err := s.Run(tc.command); err != nil {
			end = err.Error()
		}
		if stdout.String() != tc.stdout || stderr.String() != tc.stderr || end != tc.end {
			t.Errorf("%s: stdout %q, stderr %q, end %q", tc.command, &stdout, &stderr, end)
		}
	}
}

func TestExecRelaysLargeStreams(t *testing.T) {
	s := newTestSession(t, dialTest(t, newTestServer(t)))
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	s.Stdin = bytes.NewReader(data)
	out, err := s.Output("cat")
	if err != nil || !bytes.Equal(out, data) {
		t.Errorf("%d bytes of %d, %v", len(out), len(data), err)
	}
}

func TestManyChannels(t *testing.T) {
	c := dialTest(t, newTestServer(t))
	var wg sync.WaitGroup
	for i := range 20 {
		s := newTestSession(t, c)
		s.Stdin = strings.NewReader(fmt.Sprint(i))
		wg.Go(func() {
			out, err := s.Output("read x; echo $x")
			if err != nil || string(out) != fmt.Sprintln(i) {
				t.Errorf("%d: %q, %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func TestCommandSeesTheConnectionEnd(t *testing.T) {
	c := dialTest(t, newTestServer(t))
	s := newTestSession(t, c)
	if _, err := s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(t.TempDir(), "ended")
	if err := s.Start("cat; touch " + mark); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := os.Stat(mark); return err == nil })
}

func TestSignal(t *testing.T) {
	s := newTestSession(t, dialTest(t, newTestServer(t)))
	if err := s.Start("exec sleep 60"); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(ssh.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.Signal() != "TERM" {
		t.Errorf("end %v", err)
	}
}

func TestCloseKillsLeftoverProcesses(t *testing.T) {
	server := newTestServer(t)
	s := newTestSession(t, dialTest(t, server))
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// A background process that ignores all signals but SIGKILL, and one in a session
	// of its own that holds our output.
	if err := s.Start(`(trap "" HUP TERM PIPE; echo $(exec sh -c 'echo $PPID'); while :; do sleep 1; done) & setsid sleep 3 & wait`); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 2500*time.Millisecond {
		t.Errorf("closed after %v", d)
	}
	waitFor(t, func() bool { // gone, or waiting for init to reap it
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err != nil || strings.HasPrefix(statusField(string(status), "State:"), "Z")
	})
}

func TestOtherKeysAndUsersAreRefused(t *testing.T) {
	server := newTestServer(t)
	other, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(server.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	right, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*ssh.ClientConfig{
		"another key":  {User: sshUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(other)}},
		"another user": {User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(right)}},
		"a password":   {User: sshUser, Auth: []ssh.AuthMethod{ssh.Password("")}},
		"nothing":      {User: sshUser},
	} {
		config.HostKeyCallback = ssh.InsecureIgnoreHostKey()
		if c, err := ssh.Dial("tcp", server.addr, config); err == nil {
			_ = c.Close()
			t.Errorf("%s was accepted", name)
		}
	}
	c := dialTest(t, server)
	if _, err := c.Dial("tcp", server.addr); err == nil {
		t.Error("the server forwards connections")
	}
	for _, file := range []string{server.keyFile, filepath.Dir(server.keyFile)} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	if ok, _, err := c.SendRequest("keepalive@openssh.com", true, nil); ok || err != nil {
		t.Errorf("keepalive: %v, %v", ok, err)
	}
}

func TestSecondExecIsRefused(t *testing.T) {
	c := dialTest(t, newTestServer(t))
	ch, reqs, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	exec := func(command string) bool {
		ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if first, second := exec("cat"), exec("cat"); !first || second {
		t.Errorf("first %v, second %v", first, second)
	}
	if _, err := ch.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := ch.CloseWrite(); err != nil {
		t.Error(err)
	}
	if out, err := io.ReadAll(ch); string(out) != "x" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("the condition does not become true")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
