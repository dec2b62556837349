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

// refuses dials and returns the error, which must have the code.
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

// fingerprint is what ssh-keygen says.
func fingerprint(t *testing.T, pub string) string {
	t.Helper()
	out, err := exec.Command("ssh-keygen", "-l", "-f", pub).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

// The hint of an unknown key is a command that makes it known.
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

// The same with the hint of a changed key, which names both keys and the line.
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

// A server with several keys shows the one that is known.
func TestKnownTypeIsAskedFor(t *testing.T) {
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
		t.Fatal("ssh-keygen did not hash")
	}
	dial(t, s.config())
}

// The known key's type is gone from the server altogether.
func TestKnownTypeIsGone(t *testing.T) {
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
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	dial(t, pinConfig(s, file))
	if testenv.ReadFile(t, file) != first {
		t.Error("the second connection pinned again")
	}
	// Another key of the same machine: it was replaced.
	other := filepath.Join(s.dir, "other")
	writeKey(t, other, newKey(t, "ed25519"))
	fields := strings.Fields(first)
	changed := strings.Join(fields[:3], " ") + " " + testenv.ReadFile(t, other+".pub")
	testenv.WriteFile(t, file, "a line that was cut\n"+changed)
	e := checkRefused(t, pinConfig(s, file), diag.HostKeyChanged)
	checkContains(t, e.Summary, file+":2", fingerprint(t, other+".pub"), fingerprint(t, s.hostKey("ed25519")+".pub"))
	checkContains(t, e.Hint, "remove line 2 of "+file)
	// The type is gone.
	s.addHostKey(t, "ecdsa")
	testenv.WriteFile(t, file, strings.Join(fields[:3], " ")+" "+testenv.ReadFile(t, s.hostKey("ecdsa")+".pub"))
	checkContains(t, checkRefused(t, pinConfig(s, file), diag.HostKeyChanged).Summary, "only ")
}

// A node on an address of this machine's own may show another key: it is taken,
// with one line that says so, and the next connection finds it.
func TestRepin(t *testing.T) {
	s := startSSHD(t, sshdOptions{hostKeys: []string{"ed25519", "rsa"}})
	file := filepath.Join(t.TempDir(), "pins")
	var said bytes.Buffer
	repinConfig := func() sshconn.Config {
		cfg := pinConfig(s, file)
		cfg.Node.HostKeys, cfg.Log = node.Repin, slog.New(slog.NewTextHandler(&said, nil))
		return cfg
	}
	dial(t, repinConfig())
	first := strings.Fields(testenv.ReadFile(t, file))
	other := filepath.Join(s.dir, "other")
	writeKey(t, other, newKey(t, "ed25519"))
	testenv.WriteFile(t, file, strings.Join(first[:3], " ")+" "+testenv.ReadFile(t, other+".pub"))
	if said.Len() > 0 {
		t.Errorf("at first sight: %s", said.String())
	}
	dial(t, repinConfig())
	shown := fingerprint(t, s.hostKey("ed25519")+".pub")
	checkContains(t, said.String(), "another host key than before", fingerprint(t, other+".pub"), shown)
	said.Reset()
	after := testenv.ReadFile(t, file)
	dial(t, repinConfig())
	if testenv.ReadFile(t, file) != after || said.Len() > 0 {
		t.Errorf("the new key was not found again: %s", said.String())
	}
	// The known type is asked for first, though the server has a key of a better
	// one.
	testenv.WriteFile(t, file, strings.Join(first[:3], " ")+" "+testenv.ReadFile(t, s.hostKey("rsa")+".pub"))
	dial(t, repinConfig())
	if said.Len() > 0 {
		t.Errorf("the key of the known type: %s", said.String())
	}
	// The known type is gone.
	s.addHostKey(t, "ecdsa")
	testenv.WriteFile(t, file, strings.Join(first[:3], " ")+" "+testenv.ReadFile(t, s.hostKey("ecdsa")+".pub"))
	dial(t, repinConfig())
	checkContains(t, said.String(), "another host key than before", fingerprint(t, s.hostKey("ecdsa")+".pub"))
}

// minikube gives a machine that it makes anew a new key to log in with; its new
// host key is then no alarm. Another profile at the same address is another
// machine too.
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

// A login that fails pins nothing: who answers may be another container.
func TestPinNeedsLogin(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	file := filepath.Join(t.TempDir(), "pins")
	cfg := pinConfig(s, file)
	stranger := filepath.Join(s.dir, "stranger")
	writeKey(t, stranger, newKey(t, "ed25519"))
	cfg.Node.Identities = []string{stranger}
	checkRefused(t, cfg, diag.KeyRefused)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", file, err)
	}
}

func TestPinTogether(t *testing.T) {
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
			t.Errorf("a broken line: %q", line)
		}
	}
}

func TestPinCannotBeWritten(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	file := filepath.Join(s.identity, "pins") // below a file
	c, err := sshconn.Dial(t.Context(), pinConfig(s, file))
	if err == nil {
		_ = c.Close()
		t.Error("connected without a pin")
	}
}
