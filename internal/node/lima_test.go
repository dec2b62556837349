package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/node"
)

// limaInstance makes an instance that runs, with a configuration as lima's code
// writes it: pkg/hostagent/hostagent.go (writeSSHConfigFile) and pkg/sshutil
// (CommonOpts, SSHOpts, Format) of the version that the vector names.
func limaInstance(t *testing.T, home, name, vector string) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join("testdata", "lima", vector+".config"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, name)
	write(t, filepath.Join(dir, "lima.yaml"), "")
	write(t, filepath.Join(dir, "ha.pid"), "4711\n")
	write(t, filepath.Join(dir, "ssh.config"), strings.ReplaceAll(string(config), "HOME", home))
}

// sshs returns the ways to read a configuration: without ssh, and with it where
// it is.
func sshs(t *testing.T) map[string]string {
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
	limaInstance(t, home, "default", "1.0")
	limaInstance(t, home, "my_k8s.1", "2.1")
	for way, ssh := range sshs(t) {
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
				got, err := node.Resolve(o)
				if err != nil {
					t.Errorf("%s by %s: %v", want.Name, way, err)
					continue
				}
				want.Why, want.Remedy = got.Why, got.Remedy
				if !reflect.DeepEqual(*got, want) || !strings.Contains(got.Remedy, "limactl list") {
					t.Errorf("%s by %s:\n got %+v\nwant %+v", want.Name, way, *got, want)
				}
			}
		}
	}
}

// An instance on another machine's address needs to be allowed, and its key stays.
func TestLimaNotLocal(t *testing.T) {
	home := t.TempDir()
	for host, local := range map[string]bool{"172.20.3.4": true, "203.0.113.7": false, "build.example.org": false} {
		limaInstance(t, home, "default", "1.0")
		file := filepath.Join(home, "default", "ssh.config")
		config, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, strings.Replace(string(config), "Hostname 127.0.0.1", "Hostname "+host, 1))
		n, err := node.Resolve(node.Options{Spec: "lima:default", LimaHome: home})
		if err != nil || n.Local != local || (n.HostKeys == node.Repin) != local || !strings.Contains(n.Why, host) {
			t.Errorf("%s: %+v, %v", host, n, err)
		}
	}
}

func TestLimaRefused(t *testing.T) {
	home := t.TempDir()
	o := node.Options{LimaHome: home, SSH: fakeSSH(t)}
	o.Spec = "lima:default"
	checkFails(t, o, diag.NodeUnknown, "lima has no instance \"default\"", "there are none", "LIMA_HOME")
	limaInstance(t, home, "default", "1.0")
	limaInstance(t, home, "k8s", "1.0")
	write(t, filepath.Join(home, "_config", "lima.yaml"), "")
	for _, name := range []string{"nosuch", "../default", "-x", "a b", "_config", "k8s\n"} {
		o.Spec = "lima:" + name
		checkFails(t, o, diag.NodeUnknown, "lima has no instance", "there are: default, k8s")
	}
	o.Spec = "lima:k8s"
	o.SSH = "/bin/false"
	checkFails(t, o, diag.NodeUnknown, "lima's instance k8s", "exit status 1", "limactl start k8s")
	if err := os.Remove(filepath.Join(home, "k8s", "ha.pid")); err != nil {
		t.Fatal(err)
	}
	checkFails(t, o, diag.NodeUnreachable, "does not run", "limactl start k8s")
	checkFails(t, node.Options{Spec: "lima:", LimaHome: home}, diag.Usage, "lima:INSTANCE")
}
