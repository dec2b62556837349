package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// writeLimaInstance creates a running instance, with a configuration as lima's code writes
// it: pkg/hostagent/hostagent.go (writeSSHConfigFile) and pkg/sshutil (CommonOpts,
// SSHOpts, Format) of the version that the vector names.
func writeLimaInstance(t *testing.T, home, name, vector string) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join("testdata", "lima", vector+".config"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, name)
	testenv.WriteFile(t, filepath.Join(dir, "lima.yaml"), "")
	testenv.WriteFile(t, filepath.Join(dir, "ha.pid"), "4711\n")
	testenv.WriteFile(t, filepath.Join(dir, "ssh.config"), strings.ReplaceAll(string(config), "HOME", home))
}

// sshPaths returns the ways to read a configuration: by the parser, and by ssh if it is
// installed.
func sshPaths(t *testing.T) map[string]string {
	ways := map[string]string{"parser": ""}
	if ssh, err := exec.LookPath("ssh"); err == nil {
		ways["ssh"] = ssh
	} else if os.Getenv("CI") == "true" {
		t.Fatal("needs OpenSSH's client: apt-get install openssh-client")
	}
	return ways
}

func TestLima(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".lima")
	writeLimaInstance(t, home, "default", "1.0")
	writeLimaInstance(t, home, "my_k8s.1", "2.1")
	for way, ssh := range sshPaths(t) {
		for _, want := range []node.Node{
			{
				Name: "lima:default", Addrs: []string{"127.0.0.1:60022"}, User: "dev", HostKeyAlias: "lima-default",
				Identities: []string{filepath.Join(home, "_config", "user"), filepath.Join(home, "ssh keys", "id_rsa")},
			},
			{
				Name: "lima:my_k8s.1", Addrs: []string{"127.0.0.1:38127"}, User: "dev.guest", HostKeyAlias: "lima-my-k8s-1",
				Identities: []string{filepath.Join(home, "_config", "user")},
			},
		} {
			want.UserKeys, want.FilesOnly, want.HostKeys, want.Local = true, true, node.Repin, true
			for _, o := range []node.Options{
				{Spec: want.Name, LimaHome: home, Home: "/nonexistent"},
				{Spec: want.Name, Home: filepath.Dir(home)},
			} {
				o.SSH, o.GOOS = ssh, "linux"
				t.Run(want.Name+" with "+way, func(t *testing.T) {
					got := resolve(t, o)
					want.Why = got.Why
					want.Remedy = "check that it is running: limactl list"
					checkNode(t, got, &want)
				})
			}
		}
	}
}

// An instance at another machine's address is not local, and its key must not change.
func TestLimaNotLocal(t *testing.T) {
	home := t.TempDir()
	for host, local := range map[string]bool{"172.20.3.4": true, "203.0.113.7": false, "build.example.org": false} {
		writeLimaInstance(t, home, "default", "1.0")
		file := filepath.Join(home, "default", "ssh.config")
		config, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		testenv.WriteFile(t, file, strings.Replace(string(config), "Hostname 127.0.0.1", "Hostname "+host, 1))
		n := resolve(t, node.Options{Spec: "lima:default", LimaHome: home})
		if n.Local != local {
			t.Errorf("%s: local is %v, want %v", host, n.Local, local)
		}
		if got := n.HostKeys == node.Repin; got != local {
			t.Errorf("%s: the host key may change: %v, want %v", host, got, local)
		}
		if !strings.Contains(n.Why, host) {
			t.Errorf("%s: the reason %q does not name it", host, n.Why)
		}
	}
}

func TestLimaRefused(t *testing.T) {
	home := t.TempDir()
	o := node.Options{LimaHome: home, SSH: fakeSSH(t)}
	o.Spec = "lima:default"
	checkFails(t, o, diag.NodeUnknown, "lima has no instance \"default\"", "there are no instances", "LIMA_HOME")
	writeLimaInstance(t, home, "default", "1.0")
	writeLimaInstance(t, home, "k8s", "1.0")
	testenv.WriteFile(t, filepath.Join(home, "_config", "lima.yaml"), "")
	for _, name := range []string{"nosuch", "../default", "-x", "a b", "_config", "k8s\n"} {
		o.Spec = "lima:" + name
		checkFails(t, o, diag.NodeUnknown, "lima has no instance", "use one of: default, k8s")
	}
	o.Spec = "lima:k8s"
	o.SSH = "/bin/false"
	checkFails(t, o, diag.NodeUnknown, "lima's instance k8s", "exit status 1", "limactl start k8s")
	if err := os.Remove(filepath.Join(home, "k8s", "ha.pid")); err != nil {
		t.Fatal(err)
	}
	checkFails(t, o, diag.NodeUnreachable, "is not running", "limactl start k8s")
	checkFails(t, node.Options{Spec: "lima:", LimaHome: home}, diag.Usage, "lima:INSTANCE")
}
