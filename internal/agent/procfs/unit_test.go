package procfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
)

func TestUnitOf(t *testing.T) {
	tests := []struct{ name, own, manager, want string }{
		{"v2", "0::/system.slice/containerd.service\n", "0::/init.scope\n", "containerd.service"},
		{"v1", "12:pids:/system.slice/docker.service\n1:name=systemd:/system.slice/docker.service\n", "1:name=systemd:/init.scope\n", "docker.service"},
		{"both", "1:name=systemd:/\n0::/system.slice/k3s.service\n", "1:name=systemd:/\n0::/init.scope\n", "k3s.service"},
		{"both, v2 unused", "1:name=systemd:/system.slice/k3s.service\n0::/\n", "0::/\n", "k3s.service"},
		{"child group", "0::/system.slice/containerd.service/dapbridge\n", "0::/init.scope\n", "containerd.service"},
		{"user's", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n", "0::/init.scope\n", "user@1000.service"},
		{"login", "0::/user.slice/user-0.slice/session-3.scope\n", "0::/init.scope\n", "session-3.scope"},
		{"node is a container", "0::/docker/abc/system.slice/kubelet.service\n", "0::/docker/abc/init.scope\n", "kubelet.service"},
		{"node is a unit", "0::/system.slice/docker-abc.scope/system.slice/kubelet.service\n", "0::/system.slice/docker-abc.scope/init.scope\n", "kubelet.service"},
		{"node's group above", "0::/system.slice/a.service\n", "0::/../init.scope\n", "a.service"},
		{"group removed", "0::/system.slice/a.service (deleted)\n", "0::/init.scope\n", "a.service"},
		{"pod", "0::/kubepods/burstable/pod1/2\n", "0::/init.scope\n", ""},
		{"colon", "0::/system.slice/a:b.service\n", "", "a:b.service"},
		{"no name of a unit", "0::/*.service/a\tb.service/x.service\n", "", "x.service"},
		{"no unit", "0::/\n", "0::/\n", ""},
		{"only slices", "0::/system.slice\n", "0::/\n", ""},
		{"nothing", "", "", ""},
		{"garbage", "0::\n::\n:\nname=systemd\n", "\x00", ""},
	}
	for _, test := range tests {
		if got := findUnit([]byte(test.own), []byte(test.manager)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestServiceOf(t *testing.T) {
	for name, want := range map[string]string{
		"containerd": "containerd.service", "dockerd": "docker.service", "k3s": "k3s.service", "crio": "crio.service", "kubelet": "kubelet.service",
	} {
		if got := api.ServiceOf(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// fakeSystemctl replaces systemctl by a script during the test.
func fakeSystemctl(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestMainPIDs(t *testing.T) {
	fakeSystemctl(t, `test "$LC_ALL $*" = "C show -p MainPID -- a.service --x.service" && printf 'MainPID=12\n\nMainPID=0\nMainPID=x\nMainPID=13\n'`)
	pids := findMainPIDs(t.Context(), "a.service", "*.service", "--x.service")
	if len(pids) != 2 || !pids[12] || !pids[13] {
		t.Error(pids)
	}
	if pids := findMainPIDs(t.Context()); len(pids) != 0 {
		t.Error(pids)
	}
}

func TestMainPIDsOfHangingSystemd(t *testing.T) {
	fakeSystemctl(t, "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if pids := findMainPIDs(ctx, "a.service"); len(pids) != 0 || time.Since(began) > systemctlTimeout {
		t.Error(pids, time.Since(began))
	}
}
