package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// fakeSSH returns a program that prints settings as ssh -G does.
func fakeSSH(t *testing.T, settings ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ssh")
	script := "#!/bin/sh\n[ \"$1 $2\" = '-G --' ] || exit 9\ncat <<'EOF'\n" + strings.Join(settings, "\n") + "\nEOF\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSSHSettings(t *testing.T) {
	base := []string{"user ops", "hostname 10.1.2.3", "port 2222", "identityfile ~/.ssh/id_rsa", "identityfile /keys/node", "identityfile none"}
	keys := []string{"/home/me/.ssh/id_rsa", "/keys/node"}
	want := func(change func(*node.Node)) *node.Node {
		n := &node.Node{Name: "ssh:h", Addrs: []string{"10.1.2.3:2222"}, User: "ops", Identities: keys, UserKeys: true}
		change(n)
		return n
	}
	for name, tt := range map[string]struct {
		settings []string
		want     *node.Node
	}{
		"plain": {nil, want(func(*node.Node) {})},
		"known hosts": {
			[]string{"userknownhostsfile ~/.ssh/a /b", "globalknownhostsfile /etc/c", "hostkeyalias other"},
			want(func(n *node.Node) {
				n.KnownHosts, n.HostKeyAlias = []string{"/home/me/.ssh/a", "/b", "/etc/c"}, "other"
			}),
		},
		"keys": {
			[]string{"identitiesonly yes", "identityagent ~/agent", "certificatefile ~/cert"},
			want(func(n *node.Node) {
				n.FilesOnly, n.AgentSocket, n.Certificates = true, "/home/me/agent", []string{"/home/me/cert"}
			}),
		},
		"no agent": {[]string{"identityagent none"}, want(func(n *node.Node) { n.AgentSocket = "none" })},
		"usual agent": {
			[]string{"identityagent SSH_AUTH_SOCK", "proxycommand none", "proxyjump none"}, want(func(*node.Node) {}),
		},
		"command": {
			[]string{"proxycommand nc -X 5 %h %p # %r %n 100%%"},
			want(func(n *node.Node) {
				n.Proxy = []string{"/bin/zsh", "-c", "exec nc -X 5 10.1.2.3 2222 # ops h 100%"}
			}),
		},
		"jump": {
			[]string{"proxyjump u@j1:99"},
			want(func(n *node.Node) { n.Proxy = []string{"SSH", "-W", "10.1.2.3:2222", "--", "ssh://u@j1:99"} }),
		},
		"jumps": {
			[]string{"proxyjump j1,u@j2,ssh://j3:1"},
			want(func(n *node.Node) {
				n.Proxy = []string{"SSH", "-W", "10.1.2.3:2222", "-J", "j1,u@j2", "--", "ssh://j3:1"}
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := node.Options{Spec: "ssh:h", SSH: fakeSSH(t, append(base, tt.settings...)...), Shell: "/bin/zsh", Home: "/home/me", GOOS: "linux"}
			got := resolve(t, o)
			if len(got.Proxy) > 0 && got.Proxy[0] == o.SSH {
				got.Proxy[0] = "SSH"
			}
			tt.want.Why, tt.want.Remedy = got.Why, got.Remedy
			checkNode(t, got, tt.want)
			checkTexts(t, got)
		})
	}
}

func TestSSHSettingsOfLocalHost(t *testing.T) {
	n := resolve(t, node.Options{Spec: "ssh:h", SSH: fakeSSH(t, "user u", "hostname ::1", "port 22"), Home: "/home/me", Identity: "~/key"})
	checkNode(t, n, &node.Node{
		Name: "ssh:h", Addrs: []string{"[::1]:22"}, User: "u", Identities: []string{"/home/me/key"},
		Local: true, Why: "::1 is a loopback address", Remedy: n.Remedy,
	})
}

func TestSSHSettingsRefused(t *testing.T) {
	for want, settings := range map[string][]string{
		"not a port number":        {"user u", "hostname h", "port x"},
		"not a valid user name":    {"user -x", "hostname h", "port 22"},
		"neither a host name":      {"user u", "hostname $(x)", "port 22"},
		"ends with %":              {"user u", "hostname h", "port 22", "proxycommand nc %"},
		"unknown token %z":         {"user u", "hostname h", "port 22", "proxycommand nc %z"},
		"not safe in the shell":    {"user $(x)", "hostname h", "port 22", "proxycommand nc %h %r"},
		"neither a host name nor ": {},
	} {
		checkFails(t, node.Options{Spec: "ssh:h", SSH: fakeSSH(t, settings...), GOOS: "linux"}, diag.NodeUnknown, want)
	}
	checkFails(t, node.Options{Spec: "ssh:h", SSH: "/bin/false"}, diag.NodeUnknown, "false -G h: exit status 1", "ssh h true")
	checkFails(t, node.Options{Spec: "ssh:h", SSH: fakeSSH(t, "user u", "hostname h", "port 22", "proxycommand x"), GOOS: "windows"}, diag.NodeUnknown, "not supported on Windows")
}

// Without ssh the simple parts of the configuration are read.
func TestSSHConfigFile(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, ".ssh", "config")
	o := node.Options{Spec: "ssh:dev", Home: home, User: "me", GOOS: "linux"}
	key := func(name string) string { return filepath.Join(home, ".ssh", name) }
	check := func(want node.Node) {
		t.Helper()
		n := resolve(t, o)
		want.Name, want.UserKeys, want.Why, want.Remedy = "ssh:dev", true, n.Why, n.Remedy
		checkNode(t, n, &want)
	}
	check(node.Node{
		Addrs: []string{"dev:22"}, User: "me",
		Identities: []string{key("id_ed25519"), key("id_ecdsa"), key("id_rsa")},
	})
	testenv.WriteFile(t, file, "Host dev\n  HostName 127.0.0.1\n  Port 2222\n  User ops\n  IdentityFile ~/key\nHost jump\n  ProxyJump other\n")
	check(node.Node{
		Addrs: []string{"127.0.0.1:2222"}, User: "ops", Local: true,
		Identities: []string{filepath.Join(home, "key")},
	})
	o.Spec = "ssh:jump"
	checkFails(t, o, diag.NodeUnknown, "ProxyJump needs ssh")
	testenv.WriteFile(t, file, "Match exec true\n  User x\n")
	checkFails(t, o, diag.NodeUnknown, file, "is not installed")
}

// For any output of ssh the address can be dialled as it is, nothing is taken for an
// option, and a shell gets no more than the user wrote.
func FuzzSSHSettings(f *testing.F) {
	f.Add("ops", "10.1.2.3", "22", "nc %h %p %r", "")
	f.Add("u", "::1", "1", "", "a,b")
	f.Fuzz(func(t *testing.T, user, host, port, command, jumps string) {
		n, err := node.FromSSHSettings(map[string][]string{
			"user": {user}, "hostname": {host}, "port": {port}, "proxycommand": {command}, "proxyjump": {jumps},
		}, node.Options{SSH: "ssh", GOOS: "linux"})
		if err != nil {
			return
		}
		checkUser(t, n.User)
		checkAddr(t, n.Addrs[0])
		if strings.ContainsAny(n.Addrs[0], "\x00/@$`") {
			t.Fatalf("address %q", n.Addrs[0])
		}
		if len(n.Proxy) == 0 || n.Proxy[0] != "/bin/sh" || strings.Contains(command, "%%") {
			return
		}
		if strings.Count(n.Proxy[2], "$") != strings.Count(command, "$") {
			t.Fatalf("%q has become %q", command, n.Proxy)
		}
	})
}
