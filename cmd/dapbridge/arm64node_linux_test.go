package main

import (
	"debug/elf"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// sshNode is OpenSSH's server in namespaces of its own: what it stores in /var/lib, and the
// programs it runs, are invisible to the machine and end with it.
type sshNode struct {
	addr       string
	identity   string // the private key that it accepts
	knownHosts string // the line with its key
	root       string // its root directory
}

// startNode starts a node. If it is emulated, it runs what is built for arm64, under
// qemu, and says that it is an arm64 machine.
func startNode(t *testing.T, emulated bool) *sshNode {
	t.Helper()
	testenv.NeedsRoot(t, "it starts an SSH server in a namespace of its own")
	server := "/usr/sbin/sshd"
	if _, err := os.Stat(server); err != nil {
		testenv.Skipf(t, "needs OpenSSH's server: apt-get install openssh-server")
	}
	dir := t.TempDir()
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		testenv.WriteFile(t, name, content)
		return name
	}
	host, hostKey := newKey(t)
	user, userKey := newKey(t)
	n := &sshNode{addr: freeAddr(t), identity: file("id", string(userKey))}
	n.knownHosts = knownhosts.Line([]string{n.addr}, host.PublicKey()) + "\n"
	addr, port, _ := net.SplitHostPort(n.addr)
	config := file("sshd_config", "ListenAddress "+addr+"\nPort "+port+"\nHostKey "+file("host", string(hostKey))+"\nAuthorizedKeysFile "+
		file("authorized_keys", string(ssh.MarshalAuthorizedKey(user.PublicKey())))+
		"\nPermitRootLogin yes\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPidFile none\nLogLevel ERROR\n")
	for _, key := range []string{"id", "host"} {
		if err := os.Chmod(filepath.Join(dir, key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := "mount --make-rprivate /\nmount -t proc proc /proc\nmount -t tmpfs -o mode=755 tmpfs /run\nmkdir /run/sshd\nmount -t tmpfs -o mode=755 tmpfs /var/lib\n" +
		"mount --bind " + file("passwd", "root:x:0:0::/run:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n") + " /etc/passwd\n"
	if emulated {
		script += emulate(t, dir)
	}
	n.start(t, script+"exec "+server+" -D -e -f "+config+"\n")
	return n
}

// emulate returns the commands that have the kernel start what is built for arm64 under
// qemu-aarch64 (Documentation/admin-guide/binfmt-misc.rst: each user namespace has its own
// formats), and put such a uname into place.
func emulate(t *testing.T, dir string) string {
	t.Helper()
	uname := filepath.Join(dir, "uname")
	testenv.WriteFile(t, filepath.Join(dir, "uname.go"), unameSource)
	build := exec.Command("go", "build", "-o", uname, "uname.go")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	magic := `\x7fELF\x02\x01\x01` + strings.Repeat(`\x00`, 9) + `\x02\x00\xb7\x00`
	mask := strings.Repeat(`\xff`, 7) + `\x00` + strings.Repeat(`\xff`, 8) + `\xfe\xff\xff\xff`
	return "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc\n" +
		"printf '%s' ':arm64:M::" + magic + ":" + mask + ":" + testenv.NeedsTool(t, "qemu-aarch64") + ":' >/proc/sys/fs/binfmt_misc/register\n" +
		"mount --bind " + uname + " /usr/bin/uname\n"
}

// unameSource prints what uname -s -m does.
const unameSource = `package main

import (
	"os"
	"syscall"
)

func main() {
	var u syscall.Utsname
	syscall.Uname(&u)
	os.Stdout.WriteString(text(u.Sysname) + " " + text(u.Machine) + "\\n")
}

func text(field [65]int8) string {
	var text []byte
	for i := 0; field[i] != 0; i++ {
		text = append(text, byte(field[i]))
	}
	return string(text)
}
`

// start runs the script that becomes the server, until the end of the test.
func (n *sshNode) start(t *testing.T, script string) {
	t.Helper()
	var log testenv.Buffer
	cmd := exec.Command("/bin/sh", "-ec", script)
	cmd.Stdout, cmd.Stderr = &log, &log
	everyone := []syscall.SysProcIDMap{{Size: 1 << 16}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
		UidMappings: everyone, GidMappings: everyone, GidMappingsEnableSetgroups: true,
	}
	if err := cmd.Start(); err != nil {
		testenv.Skipf(t, "no namespaces: %v", err)
	}
	n.root = fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	listens := func() bool {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
	if !testenv.Eventually(20*time.Second, listens) {
		t.Fatal("sshd does not listen")
	}
}

// agent returns the architecture of the agent that was last uploaded.
func (n *sshNode) agent(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(n.root + "/var/lib/dapbridge/*/dapbridge")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no agent: %v", err)
	}
	newest := slices.MaxFunc(files, func(a, b string) int { return modTime(t, a).Compare(modTime(t, b)) })
	f, err := elf.Open(newest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]
}

func modTime(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// freeAddr returns an address at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
