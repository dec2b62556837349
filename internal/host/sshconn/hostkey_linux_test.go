package sshconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// checkRefused checks that Dial fails with the code, and returns the error.
func checkRefused(t *testing.T, cfg sshconn.Config, code diag.Code) *diag.Error {
	t.Helper()
	c, err := sshconn.Dial(t.Context(), cfg)
	if err == nil {
		_ = c.Close()
		t.Fatalf("connected; want %s", code)
	}
	var e *diag.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %q with code %s, want %s", err, diag.CodeOf(err), code)
	}
	return e
}

func checkContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not contain %q", text, p)
		}
	}
}

// fingerprint returns the fingerprint that ssh-keygen prints.
func fingerprint(t *testing.T, pub string) string {
	t.Helper()
	out, err := exec.Command("ssh-keygen", "-l", "-f", pub).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

// The hint for an unknown key has a command that makes it known.
func TestHostKeyUnknown(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		s := startSSHD(t, sshdOptions{hostKeys: []string{kind}})
		cfg := s.config()
		cfg.KnownHosts = []string{filepath.Join(t.TempDir(), "none yet"), "/etc/ssh/ssh_known_hosts"}
		e := checkRefused(t, cfg, diag.HostKeyUnknown)
		checkContains(t, e.Summary, s.addr, fingerprint(t, s.hostKey(kind)+".pub"))
		_, command, _ := strings.Cut(e.Hint, "store the key: ")
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		dial(t, cfg)
	}
}

// The error for a changed key names both keys and the line. The hint has a command that
// removes the old one.
func TestHostKeyChanged(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	other := filepath.Join(s.dir, "other")
	writeKey(t, other, newKey(t, "ed25519"))
	testenv.WriteFile(t, s.knownHosts, "# a comment\n"+bracket(s.addr)+" "+testenv.ReadFile(t, other+".pub"))
	e := checkRefused(t, s.config(), diag.HostKeyChanged)
	checkContains(t, e.Summary, s.knownHosts+":2", fingerprint(t, other+".pub"), fingerprint(t, s.hostKey("ed25519")+".pub"))
	command := regexp.MustCompile("ssh-keygen -f [^;]*").FindString(e.Hint)
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	checkRefused(t, s.config(), diag.HostKeyUnknown)
}

// A server with several keys presents the known one.
func TestKnownTypeIsRequested(t *testing.T) {
	all := []string{"ed25519", "ecdsa", "rsa"}
	s := startSSHD(t, sshdOptions{hostKeys: all})
	for _, kind := range all {
		s.writeKnownHosts(t, kind)
		dial(t, s.config())
	}
}

func TestHashedHost(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	if out, err := exec.Command("ssh-keygen", "-H", "-f", s.knownHosts).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(testenv.ReadFile(t, s.knownHosts), "127.0.0.1") {
		t.Fatal("ssh-keygen did not hash the address")
	}
	dial(t, s.config())
}

// The server no longer has a key of the known type.
func TestKnownTypeIsMissing(t *testing.T) {
	s := startSSHD(t, sshdOptions{hostKeys: []string{"ed25519"}})
	s.addHostKey(t, "rsa")
	s.writeKnownHosts(t, "rsa")
	e := checkRefused(t, s.config(), diag.HostKeyChanged)
	checkContains(t, e.Summary, s.knownHosts+":1", "only ssh-ed25519")
}

func TestHostKeyRevoked(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	line := testenv.ReadFile(t, s.knownHosts)
	testenv.WriteFile(t, s.knownHosts, line+"@revoked * "+testenv.ReadFile(t, s.hostKey("ed25519")+".pub"))
	checkContains(t, checkRefused(t, s.config(), diag.HostKeyChanged).Summary, "revoked", s.knownHosts+":2")
}

func TestCertAuthority(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	writeKey(t, ca, newKey(t, "ecdsa"))
	cert := filepath.Join(dir, "host")
	s := startSSHD(t, sshdOptions{hostKeys: []string{"ed25519", "rsa"}, config: "HostCertificate " + cert + "-cert.pub\n", before: func(s *sshd) {
		testenv.WriteFile(t, cert+".pub", testenv.ReadFile(t, s.hostKey("ed25519")+".pub"))
		if out, err := exec.Command("ssh-keygen", "-s", ca, "-h", "-I", "x", "-n", "127.0.0.1", cert+".pub").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}})
	testenv.WriteFile(t, s.knownHosts, "@cert-authority "+bracket(s.addr)+" "+testenv.ReadFile(t, ca+".pub"))
	dial(t, s.config())
	other := filepath.Join(dir, "other")
	writeKey(t, other, newKey(t, "ecdsa"))
	testenv.WriteFile(t, s.knownHosts, "@cert-authority "+bracket(s.addr)+" "+testenv.ReadFile(t, other+".pub"))
	checkRefused(t, s.config(), diag.HostKeyUnknown)
}

func pinConfig(s *sshd, file string) sshconn.Config {
	cfg := sshconn.Config{Node: s.node(), PinFile: file}
	cfg.Node.Name, cfg.Node.HostKeys = "minikube", node.Pin
	return cfg
}

func TestPin(t *testing.T) {
	s := startSSHD(t, sshdOptions{hostKeys: []string{"ed25519", "rsa"}})
	file := filepath.Join(t.TempDir(), "new", "pins")
	dial(t, pinConfig(s, file))
	first := testenv.ReadFile(t, file)
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %v, want %v", path, got, want)
		}
	}
	dial(t, pinConfig(s, file))
	if testenv.ReadFile(t, file) != first {
		t.Error("the second connection pinned again")
	}
	// The pin is of another key of the same machine.
	other := filepath.Join(s.dir, "other")
	writeKey(t, other, newKey(t, "ed25519"))
	fields := strings.Fields(first)
	changed := strings.Join(fields[:3], " ") + " " + testenv.ReadFile(t, other+".pub")
	testenv.WriteFile(t, file, "an incomplete line\n"+changed)
	e := checkRefused(t, pinConfig(s, file), diag.HostKeyChanged)
	checkContains(t, e.Summary, file+":2", fingerprint(t, other+".pub"), fingerprint(t, s.hostKey("ed25519")+".pub"))
	checkContains(t, e.Hint, "remove line 2 of "+file)
	// The server no longer has a key of the pinned type.
	s.addHostKey(t, "ecdsa")
	testenv.WriteFile(t, file, strings.Join(fields[:3], " ")+" "+testenv.ReadFile(t, s.hostKey("ecdsa")+".pub"))
	checkContains(t, checkRefused(t, pinConfig(s, file), diag.HostKeyChanged).Summary, "only ")
}

// With Repin a node may present another key: it is accepted with a warning, and the
// next connection knows it.
func TestRepin(t *testing.T) {
	s := startSSHD(t, sshdOptions{hostKeys: []string{"ed25519", "rsa"}})
	file := filepath.Join(t.TempDir(), "pins")
	var log bytes.Buffer
	repinConfig := func() sshconn.Config {
		cfg := pinConfig(s, file)
		cfg.Node.HostKeys, cfg.Log = node.Repin, slog.New(slog.NewTextHandler(&log, nil))
		return cfg
	}
	dial(t, repinConfig())
	first := strings.Fields(testenv.ReadFile(t, file))
	other := filepath.Join(s.dir, "other")
	writeKey(t, other, newKey(t, "ed25519"))
	testenv.WriteFile(t, file, strings.Join(first[:3], " ")+" "+testenv.ReadFile(t, other+".pub"))
	checkSilent := func(when string) {
		t.Helper()
		if log.Len() > 0 {
			t.Errorf("%s: %s", when, log.String())
		}
	}
	checkSilent("on first use")
	dial(t, repinConfig())
	presented := fingerprint(t, s.hostKey("ed25519")+".pub")
	checkContains(t, log.String(), "host key has changed", fingerprint(t, other+".pub"), presented)
	log.Reset()
	after := testenv.ReadFile(t, file)
	dial(t, repinConfig())
	checkSilent("with the new key")
	if got := testenv.ReadFile(t, file); got != after {
		t.Errorf("the new key was pinned again:\n%s", got)
	}
	// The known type is requested first, though the server has a key of a preferred
	// type.
	testenv.WriteFile(t, file, strings.Join(first[:3], " ")+" "+testenv.ReadFile(t, s.hostKey("rsa")+".pub"))
	dial(t, repinConfig())
	checkSilent("with a key of the known type")
	// The server no longer has a key of the known type.
	s.addHostKey(t, "ecdsa")
	testenv.WriteFile(t, file, strings.Join(first[:3], " ")+" "+testenv.ReadFile(t, s.hostKey("ecdsa")+".pub"))
	dial(t, repinConfig())
	checkContains(t, log.String(), "host key has changed", fingerprint(t, s.hostKey("ecdsa")+".pub"))
}

// When minikube recreates a machine, it generates a new key to log in with. The new host
// key is then not an error. Another profile at the same address is another machine too.
func TestPinNewMachine(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	file := filepath.Join(t.TempDir(), "pins")
	other := filepath.Join(s.dir, "other")
	writeKey(t, other, newKey(t, "ed25519"))
	mine := fingerprint(t, s.identity+".pub")
	old := fingerprint(t, other+".pub")
	key := strings.TrimSpace(testenv.ReadFile(t, other+".pub"))
	testenv.WriteFile(t, file, fmt.Sprintf("minikube %s %s %s\nprofile2 %s %s %s\n", s.addr, old, key, s.addr, mine, key))
	dial(t, pinConfig(s, file))
	if n := strings.Count(testenv.ReadFile(t, file), "minikube "+s.addr+" "+mine); n != 1 {
		t.Errorf("pinned %d times:\n%s", n, testenv.ReadFile(t, file))
	}
}

// A failed login pins nothing: the server may be another container.
func TestPinNeedsLogin(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	file := filepath.Join(t.TempDir(), "pins")
	cfg := pinConfig(s, file)
	stranger := filepath.Join(s.dir, "stranger")
	writeKey(t, stranger, newKey(t, "ed25519"))
	cfg.Node.Identities = []string{stranger}
	checkRefused(t, cfg, diag.KeyRefused)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pin was stored (%v)", err)
	}
}

func TestConcurrentPins(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	file := filepath.Join(t.TempDir(), "pins")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			cfg := pinConfig(s, file)
			cfg.Node.Name = fmt.Sprintf("minikube%d", i%4)
			c, err := sshconn.Dial(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	for _, line := range strings.Split(testenv.ReadFile(t, file), "\n") {
		if f := strings.Fields(line); len(f) != 0 && len(f) != 5 {
			t.Errorf("malformed line %q", line)
		}
	}
}

func TestPinCannotBeWritten(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	file := filepath.Join(s.identity, "pins") // identity is a file, not a directory
	c, err := sshconn.Dial(t.Context(), pinConfig(s, file))
	if err == nil {
		_ = c.Close()
		t.Error("connected without a pin")
	}
}
