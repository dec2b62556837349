package sshconn_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needsNamespaces skips a test whose server needs namespaces of its own.
func needsNamespaces(t testing.TB) {
	t.Helper()
	testenv.NeedsRoot(t, "it mounts file systems and logs in as another user, in a namespace of its own")
}

// sshd is OpenSSH's server on a loopback port. If the test runs as root, the server has
// mount and PID namespaces of its own: it has its own /run, /var/lib, users and sudoers,
// which are invisible to the machine, and everything it started ends with it.
type sshd struct {
	addr       string
	dir        string
	user       string
	identity   string // a private key file that it accepts
	knownHosts string // a file with its host keys
}

type sshdOptions struct {
	hostKeys []string // types; nil is ed25519
	config   string   // lines for sshd_config
	setup    string   // shell, run as root in the namespace before the server starts
	user     string   // who may log in; empty is the current user
	shell    string   // the user's login shell; empty is /bin/sh
	sudoers  string
	before   func(*sshd) // called after the keys are written, before the server starts
}

// startSSHD starts a server that ends with the test.
func startSSHD(t testing.TB, o sshdOptions) *sshd {
	t.Helper()
	path := "/usr/sbin/sshd"
	if _, err := os.Stat(path); err != nil {
		testenv.Skipf(t, "needs OpenSSH's server: apt-get install openssh-server")
	}
	s := &sshd{dir: t.TempDir(), user: o.user}
	if s.user == "" {
		s.user = currentUser(t)
	}
	needsLoginShell(t, s.user)
	if o.hostKeys == nil {
		o.hostKeys = []string{"ed25519"}
	}
	config := "UsePAM " + pam() + "\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nLogLevel ERROR\n"
	config += "AuthorizedKeysFile " + s.authorizedKeys() + "\n"
	for _, kind := range o.hostKeys {
		s.addHostKey(t, kind)
		config += "HostKey " + s.hostKey(kind) + "\n"
	}
	s.identity = filepath.Join(s.dir, "id")
	writeKey(t, s.identity, newKey(t, "ed25519"))
	s.authorize(t, s.identity)
	if o.before != nil {
		o.before(s)
	}
	s.listen(t)
	host, port, _ := net.SplitHostPort(s.addr)
	config += "ListenAddress " + host + "\nPort " + port + "\n" + o.config
	testenv.WriteFile(t, filepath.Join(s.dir, "sshd_config"), config)
	s.writeKnownHosts(t, o.hostKeys...)
	s.run(t, path, o)
	return s
}

// needsLoginShell skips a test that logs in as a user who cannot.
func needsLoginShell(t testing.TB, user string) {
	t.Helper()
	for line := range strings.Lines(testenv.ReadFile(t, "/etc/passwd")) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 7 || fields[0] != user {
			continue
		}
		if shell := filepath.Base(fields[6]); shell == "nologin" || shell == "false" {
			testenv.Skipf(t, "the login shell of %s is %s", user, fields[6])
		}
	}
}

// pam returns the value of UsePAM. A server that is not root can't read shadow, and
// without PAM considers every account locked.
func pam() string {
	if os.Getuid() == 0 {
		return "no"
	}
	return "yes"
}

func currentUser(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (s *sshd) authorizedKeys() string {
	if os.Getuid() == 0 {
		return "/run/authorized_keys" // readable for all users
	}
	return filepath.Join(s.dir, "authorized_keys")
}

// listen chooses a free port, below the range from which the kernel could assign it to
// another socket before the server listens.
func (s *sshd) listen(t testing.TB) {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			s.addr = addr
			return
		}
	}
	t.Fatal("no port is free")
}

func (s *sshd) run(t testing.TB, path string, o sshdOptions) {
	t.Helper()
	argv := []string{path, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config")}
	cmd := exec.Command(argv[0], argv[1:]...)
	var log bytes.Buffer
	if os.Getuid() == 0 {
		script := s.namespace(t, o) + "\nexec " + remote.Quote(argv)
		cmd = exec.Command("/bin/sh", "-ec", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	}
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		testenv.Skipf(t, "the server cannot be started: %v", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("sshd ended: %s", log.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("sshd does not listen")
		}
	}
}

// namespace returns the script that sets up the server's namespaces.
func (s *sshd) namespace(t testing.TB, o sshdOptions) string {
	t.Helper()
	script := "mount --make-rprivate /\nmount -t proc proc /proc\nmount -t tmpfs -o mode=755 tmpfs /run\nmkdir /run/sshd\n" +
		"mount -t tmpfs -o mode=755 tmpfs /var/lib\n" +
		"cp " + filepath.Join(s.dir, "authorized_keys") + " /run/authorized_keys\nchmod 644 /run/authorized_keys\n"
	passwd := "root:x:0:0::/run:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
	shadow := "root:*:19000:0:99999:7:::\n"
	if s.user != "root" {
		passwd += s.user + ":x:4242:4242::/run:" + cmp.Or(o.shell, "/bin/sh") + "\n"
		shadow += s.user + ":*:19000:0:99999:7:::\n"
	}
	for file, content := range map[string]string{"passwd": passwd, "shadow": shadow, "sudoers": o.sudoers} {
		src := filepath.Join(s.dir, file)
		testenv.WriteFile(t, src, content)
		if file == "sudoers" {
			script += "chmod 440 " + src + "\n"
		} else {
			script += "chmod 644 " + src + "\n"
		}
		script += "[ ! -e /etc/" + file + " ] || mount --bind " + src + " /etc/" + file + "\n"
	}
	return script + o.setup
}

func (s *sshd) hostKey(kind string) string { return filepath.Join(s.dir, "host_"+kind) }

func (s *sshd) addHostKey(t testing.TB, kind string) { writeKey(t, s.hostKey(kind), newKey(t, kind)) }

// writeKnownHosts writes a known_hosts file with only the host keys of these types.
func (s *sshd) writeKnownHosts(t testing.TB, kinds ...string) {
	t.Helper()
	s.knownHosts = filepath.Join(s.dir, "known_hosts")
	var lines strings.Builder
	for _, kind := range kinds {
		fmt.Fprintf(&lines, "%s %s", bracket(s.addr), testenv.ReadFile(t, s.hostKey(kind)+".pub"))
	}
	testenv.WriteFile(t, s.knownHosts, lines.String())
}

// authorize makes the server accept a key. In a namespace the server does not see keys
// that are added after its start.
func (s *sshd) authorize(t testing.TB, identity string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, "authorized_keys"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(testenv.ReadFile(t, identity+".pub")); err != nil {
		t.Fatal(err)
	}
}

func (s *sshd) node() *node.Node {
	return &node.Node{
		Name:       "ssh://" + s.user + "@" + s.addr,
		Addrs:      []string{s.addr},
		User:       s.user,
		Identities: []string{s.identity},
	}
}

func (s *sshd) config() sshconn.Config {
	return sshconn.Config{Node: s.node(), KnownHosts: []string{s.knownHosts}}
}

// dial connects and closes the connection with the test.
func dial(t testing.TB, cfg sshconn.Config) *sshconn.Conn {
	t.Helper()
	c, err := sshconn.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// output runs a shell command on the node.
func output(t testing.TB, c *sshconn.Conn, script string) string {
	t.Helper()
	stdout, stderr, exit, err := remote.Run(context.Background(), c, []string{"sh", "-c", script}, nil)
	if err != nil || exit != 0 {
		t.Fatalf("%s: exit %d, err %v, stderr %s", script, exit, err, stderr)
	}
	return string(stdout)
}

// checkOutput checks the output of a shell command on the node.
func checkOutput(t testing.TB, c *sshconn.Conn, script, want string) {
	t.Helper()
	if got := output(t, c, script); got != want {
		t.Errorf("%s: got %q, want %q", script, got, want)
	}
}

func bracket(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return "[" + host + "]:" + port
}

func newKey(t testing.TB, kind string) any {
	t.Helper()
	var key any
	var err error
	switch kind {
	case "ed25519":
		_, k, e := ed25519.GenerateKey(rand.Reader)
		key, err = k, e
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writeKey writes path and path.pub.
func writeKey(t testing.TB, path string, key any) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	writePublic(t, path, key)
}

func writePublic(t testing.TB, path string, key any) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	testenv.WriteFile(t, path+".pub", string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}
