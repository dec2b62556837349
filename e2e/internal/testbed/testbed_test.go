//go:build linux

package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

func TestOptionsHaveDefaults(t *testing.T) {
	t.Setenv(CacheVariable, "/some/cache")
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if o.Name != DefaultName || o.Containerd != parts.Make || o.State != DefaultState || o.Cache != "/some/cache" {
		t.Errorf("defaults are %+v", o)
	}
	o.logf("without a Log, this must not panic")
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"a path for a name":     {Name: "../etc"},
		"capitals":              {Name: "Minikube"},
		"too long a name":       {Name: strings.Repeat("a", 33)},
		"an unknown flavour":    {Containerd: "vanilla"},
		"a negative user":       {Owner: -1},
		"a dash at the end":     {Name: "node-"},
		"a name with a newline": {Name: "node\n"},
	} {
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestWriteProfile parses the files with minikube's own structures.
func TestWriteProfile(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		testenv.Skipf(t, "ssh-keygen is needed for the key")
	}
	home := filepath.Join(t.TempDir(), ".minikube")
	uid := os.Getuid()
	err := WriteProfile(t.Context(), home, Profile{Name: "second", IP: "10.0.0.2", Owner: uid})
	if err != nil {
		t.Fatal(err)
	}
	var profile struct {
		Name, Driver     string
		KubernetesConfig struct{ ClusterName, ContainerRuntime, KubernetesVersion string }
		Nodes            []struct {
			Name, IP, ContainerRuntime string
			Port                       int
			ControlPlane, Worker       bool
		}
	}
	readJSON(t, filepath.Join(home, "profiles/second/config.json"), &profile)
	if profile.Name != "second" || profile.Driver != "docker" || len(profile.Nodes) != 1 {
		t.Fatalf("profile is %+v", profile)
	}
	if n := profile.Nodes[0]; n.IP != "10.0.0.2" || n.Port != 8443 || !n.ControlPlane || n.ContainerRuntime != "containerd" {
		t.Errorf("node is %+v", n)
	}
	var machine struct {
		ConfigVersion    int
		DriverName, Name string
		Driver           struct{ MachineName, SSHKeyPath, StorePath string }
	}
	readJSON(t, filepath.Join(home, "machines/second/config.json"), &machine)
	key := filepath.Join(home, "machines/second/id_rsa")
	if machine.DriverName != "docker" || machine.Driver.SSHKeyPath != key || machine.Driver.StorePath != home {
		t.Errorf("machine is %+v", machine)
	}
	raw, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(raw), "-----BEGIN RSA PRIVATE KEY-----") {
		t.Error("the key is not an RSA key in PEM format, as minikube's are")
	}
	info, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the key's mode is %v, want 0600", mode)
	}

	// Another profile with the same key, as for a node behind a proxy.
	err = WriteProfile(t.Context(), home, Profile{Name: "third", IP: "127.0.0.2", Owner: uid, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(home, "machines/third/id_rsa"))
	if err != nil {
		t.Fatal(err)
	}
	if string(copied) != string(raw) {
		t.Error("the second profile has another key")
	}
}

func TestTemplatesHaveNoUnknownValues(t *testing.T) {
	n := &Node{facts: facts{Name: "minikube"}}
	entries, err := files.ReadDir("files")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := render(e.Name(), n.templateValues())
		if err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
		if strings.Contains(string(content), "{{") {
			t.Errorf("%s: an action is left in\n%s", e.Name(), content)
		}
	}
	kubelet, _ := render("kubelet.service", n.templateValues())
	if !strings.Contains(string(kubelet), "--node-ip=10.209.77.2") {
		t.Errorf("kubelet.service does not name the node's address:\n%s", kubelet)
	}
}

func TestNetworksDoNotOverlap(t *testing.T) {
	seen := map[string]int{}
	for i := range maxNodes {
		l := newNetwork("x", i)
		for _, a := range []string{l.hostIP().String(), l.nodeIP().String()} {
			if other, ok := seen[a]; ok {
				t.Errorf("networks %d and %d share %s", i, other, a)
			}
			seen[a] = i
			if !nodeNetworks().Contains(l.nodeIP()) {
				t.Errorf("network %d lies outside %s", i, nodeNetworks())
			}
		}
		if len(l.device()) > 15 {
			t.Errorf("device name %q is too long for the kernel", l.device())
		}
	}
}

func TestCgroupMounts(t *testing.T) {
	const hybrid = `tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
`
	for mounts, want := range map[string][2]string{
		hybrid: {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"},
		"cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\ncgroup2 /mnt/again cgroup2 rw 0 0\n": {"/sys/fs/cgroup", ""},
		"proc /proc proc rw 0 0\n": {"", ""},
	} {
		unified, systemd := cgroupMounts(mounts)
		if unified != want[0] || systemd != want[1] {
			t.Errorf("got %q and %q, want %q for\n%s", unified, systemd, want, mounts)
		}
	}
}

func TestFindFailsForNodesThatDoNotRun(t *testing.T) {
	state := t.TempDir()
	if _, err := FindIn(state, "nobody"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no directory: error %v, want ErrNotRunning", err)
	}
	// The pid is in use, but by a process with another start time.
	n := &Node{dir: filepath.Join(state, "dead"), facts: facts{Name: "dead", Leader: os.Getpid(), Start: 1, Ready: time.Now()}}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := n.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := FindIn(state, "dead"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("another start time: error %v, want ErrNotRunning", err)
	}
	names, err := Names(state)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 1 || names[0] != "dead" {
		t.Errorf("names %q, want dead", names)
	}
}

func TestRemoveIsIdempotent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	outside := filepath.Join(t.TempDir(), "outside")
	for _, d := range []string{dir, outside, filepath.Join(dir, "upper")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ledger := `{"entries": [{"kind": "path", "name": "` + outside + `"}, {"kind": "netns", "name": "testnode-never-was"}]}`
	if err := os.WriteFile(filepath.Join(dir, ledgerFile), []byte(ledger), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, outside} {
		if exists(path) {
			t.Errorf("%s was not removed", path)
		}
	}
}

func TestLockIsExclusiveAndLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.lock")
	unlock, err := lockFile(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = lockFile(ctx, path, cancel) // waits for the holder until cancelled
	if !errors.Is(err, context.Canceled) {
		t.Errorf("taking a held lock: error %v, want context.Canceled", err)
	}
	unlock()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock file was not removed: %v", err)
	}
	again, err := lockFile(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
