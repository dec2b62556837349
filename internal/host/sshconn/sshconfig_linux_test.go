package sshconn_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// sshCommand returns a program that runs OpenSSH's client with that configuration,
// which also applies when it starts itself for a jump.
func sshCommand(t *testing.T, config string) string {
	t.Helper()
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		testenv.Skipf(t, "needs OpenSSH's client: apt-get install openssh-client")
	}
	dir := t.TempDir()
	file, command := filepath.Join(dir, "config"), filepath.Join(dir, "ssh")
	testenv.WriteFile(t, file, config)
	testenv.WriteFile(t, command, "#!/bin/sh\nexec "+ssh+" -F "+file+" \"$@\"\n")
	if err := os.Chmod(command, 0o700); err != nil {
		t.Fatal(err)
	}
	return command
}

// resolve returns the configuration for a host in ssh's configuration.
func resolve(t *testing.T, alias, command string) sshconn.Config {
	t.Helper()
	n, err := node.Resolve(node.Options{Spec: "ssh:" + alias, SSH: command, GOOS: "linux", Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return sshconn.Config{Node: n}
}

// TestSSHConfig connects with the settings that real ssh reads from a configuration
// with Match and Include: directly, with a ProxyCommand and through a jump host.
func TestSSHConfig(t *testing.T) {
	s, jump := startSSHD(t, sshdOptions{}), startSSHD(t, sshdOptions{})
	host, port, _ := net.SplitHostPort(s.addr)
	jumpHost, jumpPort, _ := net.SplitHostPort(jump.addr)
	included := filepath.Join(s.dir, "included")
	testenv.WriteFile(t, included, "Host node*\n  HostName "+host+"\n  Port "+port+"\n")
	command := sshCommand(t, strings.Join([]string{
		"Include " + included,
		"Match originalhost node,node-alias,node-command,node-jump,jump exec true",
		"  User " + s.user,
		"Host jump",
		"  HostName " + jumpHost,
		"  Port " + jumpPort,
		"  IdentityFile " + jump.identity,
		"  UserKnownHostsFile " + jump.knownHosts,
		"Host node-alias",
		"  HostKeyAlias other",
		"  UserKnownHostsFile " + filepath.Join(s.dir, "aliased"),
		"Host node-command",
		"  ProxyCommand ssh -F none -i " + jump.identity + " -o UserKnownHostsFile=" + jump.knownHosts + " -p " + jumpPort + " -W %h:%p %r@" + jumpHost,
		"Host node-jump",
		"  ProxyJump jump",
		"Host *",
		"  IdentitiesOnly yes",
		"  IdentityAgent none",
		"  IdentityFile " + s.identity,
		"  UserKnownHostsFile " + s.knownHosts,
		"  GlobalKnownHostsFile /dev/null",
		"",
	}, "\n"))
	testenv.WriteFile(t, filepath.Join(s.dir, "aliased"), "other "+testenv.ReadFile(t, s.hostKey("ed25519")+".pub"))
	for _, alias := range []string{"node", "node-alias", "node-command", "node-jump"} {
		t.Run(alias, func(t *testing.T) {
			cfg := resolve(t, alias, command)
			wantProxy := alias == "node-command" || alias == "node-jump"
			if got := cfg.Node.Proxy != nil; got != wantProxy {
				t.Errorf("proxy %q, want one: %v", cfg.Node.Proxy, wantProxy)
			}
			if got := cfg.Node.Local; got != !wantProxy {
				t.Errorf("local is %v, want %v", got, !wantProxy)
			}
			c := dial(t, cfg)
			checkOutput(t, c, "echo $USER", s.user+"\n")
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The error for a proxy command that fails has its message, if it printed one.
func TestProxyFails(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	for name, tt := range map[string]struct {
		argv []string
		want string
	}{
		"message":    {[]string{"/bin/sh", "-c", "echo no route to the jump host >&2; exit 1"}, "no route to the jump host"},
		"no message": {[]string{"/bin/false"}, "the proxy command has ended"},
		"missing":    {[]string{filepath.Join(s.dir, "none")}, "no such file"},
		"hangs":      {[]string{"/bin/sh", "-c", "exec sleep 1000"}, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := s.config()
			cfg.Node.Proxy, cfg.Timeout = tt.argv, time.Second
			checkContains(t, checkRefused(t, cfg, diag.NodeUnreachable).Summary, tt.want)
		})
	}
}

// TestCertificate logs in to a server that accepts only certificates.
func TestCertificate(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca")
	writeKey(t, ca, newKey(t, "ed25519"))
	user := currentUser(t)
	s := startSSHD(t, sshdOptions{
		config: "TrustedUserCAKeys " + ca + ".pub\n",
		setup:  "chmod 644 " + ca + ".pub\n",
	})
	for name, file := range map[string]string{"next to the key": "", "configured": "other"} {
		t.Run(name, func(t *testing.T) {
			identity := filepath.Join(t.TempDir(), "id")
			writeKey(t, identity, newKey(t, "ecdsa"))
			cfg := s.config()
			cfg.Node.Identities = []string{identity}
			checkRefused(t, cfg, diag.KeyRefused)
			if out, err := exec.Command("ssh-keygen", "-q", "-s", ca, "-I", "test", "-n", user, identity+".pub").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if file != "" {
				named := filepath.Join(t.TempDir(), file)
				if err := os.Rename(identity+"-cert.pub", named); err != nil {
					t.Fatal(err)
				}
				cfg.Node.Certificates = []string{named}
			}
			dial(t, cfg)
		})
	}
}

// With FilesOnly the agent's other keys are not offered.
func TestFilesOnly(t *testing.T) {
	mine, other := newKey(t, "ed25519"), newKey(t, "ecdsa")
	s := serverFor(t, other)
	socket := startAgentProcess(t, mine, other)
	cfg := s.config()
	identity := filepath.Join(t.TempDir(), "mine")
	writeKey(t, identity, mine)
	cfg.Node.Identities, cfg.Node.UserKeys, cfg.AgentSocket = []string{identity}, true, socket
	dial(t, cfg)
	cfg.Node.FilesOnly = true
	checkContains(t, checkRefused(t, cfg, diag.KeyRefused).Summary, identity)
	cfg.Node.FilesOnly, cfg.Node.AgentSocket = false, "none"
	checkRefused(t, cfg, diag.KeyRefused)
}
