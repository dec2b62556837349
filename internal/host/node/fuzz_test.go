package node_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
)

// checkResolved checks that a node from a file can be dialled as it is, and that one
// which cannot be used is refused with a message and a hint.
func checkResolved(t *testing.T, n *node.Node, err error) {
	t.Helper()
	var e *diag.Error
	if errors.As(err, &e) {
		if e.Summary == "" {
			t.Fatalf("an error without a summary: %+v", e)
		}
		if e.Hint == "" {
			t.Fatalf("%q has no hint", e.Summary)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v has no code", err)
	}
	for _, addr := range n.Addrs {
		checkAddr(t, addr)
	}
	if len(n.Addrs) == 0 && n.Container == nil {
		t.Fatalf("neither an address nor a container: %+v", n)
	}
	checkUser(t, n.User)
}

func checkAddr(t *testing.T, addr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatalf("address %q: %v", addr, err)
	}
	if host == "" || host[0] == '-' || strings.ContainsFunc(host, unicode.IsSpace) {
		t.Fatalf("address %q: host %q", addr, host)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		t.Fatalf("address %q: port %q", addr, port)
	}
}

// checkUser checks that a command takes user neither for an option nor for several
// arguments.
func checkUser(t *testing.T, user string) {
	t.Helper()
	if user == "" || user[0] == '-' || strings.ContainsFunc(user, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		t.Fatalf("user %q", user)
	}
}

// FuzzMinikubeProfile reads arbitrary files as the profile and the machine named dev.
func FuzzMinikubeProfile(f *testing.F) {
	for _, seed := range []string{
		`{"Name":"dev","Driver":"docker","Nodes":[{"Name":"","IP":"192.168.49.2","Port":8443,"ControlPlane":true}]}`,
		`{"Name":"dev","Driver":"ssh","SSHIPAddress":"h","SSHUser":"u","SSHPort":22,"Nodes":[{"Name":"m01","IP":"1.2.3.4"}]}`,
		`{"Driver":"qemu2","Network":"builtin","Nodes":[{}]}`, `{"Driver":"none"}`, `[]`, `{"Nodes":null}`,
	} {
		f.Add([]byte(seed), []byte(`{"Driver":{"IPAddress":"192.168.39.7","SSHUser":"docker","SSHPort":22,"SSHKeyPath":""}}`))
	}
	home := filepath.Join(f.TempDir(), ".minikube")
	f.Fuzz(func(t *testing.T, profile, machine []byte) {
		for name, text := range map[string][]byte{"profiles/dev/config.json": profile, "machines/dev/config.json": machine} {
			writeBytes(t, filepath.Join(home, filepath.FromSlash(name)), text)
		}
		n, err := node.Resolve(minikube(home, "minikube:dev"))
		checkResolved(t, n, err)
	})
}

// FuzzSSHConfigFile reads an arbitrary ssh_config on a machine without ssh.
func FuzzSSHConfigFile(f *testing.F) {
	f.Add([]byte("Host dev\n  HostName 127.0.0.1\n  Port 2222\n  User ops\n"))
	f.Add([]byte("Host *\n\tUser=\"a b\"\nInclude config.d/*\nMatch all\n"))
	f.Add([]byte("HostName -oProxyCommand=x\nUser -x\n"))
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, config []byte) {
		writeBytes(t, filepath.Join(home, ".ssh", "config"), config)
		n, err := node.Resolve(node.Options{Spec: "ssh:dev", Home: home, User: "me", GOOS: "linux"})
		checkResolved(t, n, err)
	})
}

func writeBytes(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
