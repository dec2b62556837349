package node_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/node"
)

// checkResolved sees that what a file made of a node can be dialled as it is, and
// that one which can't be used is refused in words.
func checkResolved(t *testing.T, n *node.Node, err error) {
	t.Helper()
	var e *diag.Error
	if errors.As(err, &e) {
		if e.Summary == "" || e.Hint == "" {
			t.Fatalf("%+v", e)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v has no code", err)
	}
	for _, addr := range n.Addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" || strings.ContainsFunc(addr, unicode.IsSpace) || strings.HasPrefix(host, "-") {
			t.Fatalf("address %q (%v)", addr, err)
		}
	}
	if len(n.Addrs) == 0 && n.Container == nil || n.User == "" || n.User[0] == '-' || strings.ContainsFunc(n.User, unicode.IsControl) {
		t.Fatalf("%+v", n)
	}
}

// FuzzMinikubeProfile reads any profile that is called dev.
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

// FuzzSSHConfigFile reads any ssh_config on a machine without ssh.
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
