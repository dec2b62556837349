package e2e

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/host/doctor"
)

// TestDeployLibraries deploys a build that needs a later C library than the node has. It
// is refused before the upload, and containerd is not restarted.
func TestDeployLibraries(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Make)
	f.restore(t)
	before, pid := f.nodeState(t), f.containerd(t)
	text, err := os.ReadFile(filepath.Join(f.node.RootFS(), containerdPath)) // which make has linked dynamically
	if err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(f.dir, "later")
	if err := os.WriteFile(later, bytes.ReplaceAll(text, []byte("GLIBC_2.34"), []byte("GLIBC_2.99")), 0o755); err != nil {
		t.Fatal(err)
	}
	checkFails(t, f.deployCommand(t, "--build=cp "+later+" $OUT"), failure{5, "lacks GLIBC_2.99 of libc.so.6: /lib/x86_64-linux-gnu/libc.so.6 has at most GLIBC_2.", "CGO_ENABLED=0"})
	if now := f.containerd(t); now != pid {
		t.Errorf("containerd was pid %d and is %d", pid, now)
	}
	f.removeAgent(t)
	if after := f.nodeState(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}

// TestFromStrippedToDebugBuild follows a user whose containerd is stripped, optimised
// and built elsewhere: doctor reports that and offers both remedies, a frozen containerd
// is reported and left alone, after deploy F5 stops with all variables, and restore
// brings the original back with its SELinux label. The processes of a pod survive all of
// it.
func TestFromStrippedToDebugBuild(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Stripped)
	f.restore(t)
	f.setLabel(t)
	pod := f.startPod(t)
	f.waitPod(t, pod)
	before, shims, label, version := f.nodeState(t), f.shims(t), f.label(t), f.version(t)

	checks := f.examine(t, 1)
	for name, c := range checks {
		switch name {
		case "symbols":
			if c.Status != doctor.Warning || !strings.Contains(c.Found, "stripped") || !strings.Contains(c.Remedy, "dapbridge symbols") || !strings.Contains(c.Remedy, "dapbridge deploy") {
				t.Errorf("%+v", c)
			}
		case "optimised":
			if c.Status != doctor.Warning || !strings.Contains(c.Remedy, "dapbridge deploy") {
				t.Errorf("%+v", c)
			}
		default:
			if c.Status != doctor.OK {
				t.Errorf("%+v", c)
			}
		}
	}
	f.whileFrozen(t, func() {
		if c := f.examine(t, 2)["cgroup"]; c.Status != doctor.Failed || !strings.Contains(c.Found, "frozen") {
			t.Errorf("%+v", c)
		}
		checkFails(t, f.deployCommand(t, "--build=false"), failure{4, "(containerd.service) is frozen", "systemctl thaw containerd.service"})
	})
	unharmed := func(after string) {
		t.Helper()
		if got := f.shims(t); !allAlive(shims, got) {
			t.Errorf("%s: processes\n%s\nbefore\n%s", after, got, shims)
		}
		if got := f.label(t); got != label {
			t.Errorf("%s: the label is %q, before %q", after, got, label)
		}
		if got := f.version(t); got != version {
			t.Errorf("%s: containerd --version prints %q, before %q", after, got, version)
		}
	}
	f.deploy(t)
	unharmed("after the deploy")
	info, err := buildinfo.ReadFile(filepath.Join(f.node.RootFS(), containerdPath))
	if err != nil || !slices.Contains(info.Settings, debug.BuildSetting{Key: "-tags", Value: "urfave_cli_no_docs"}) {
		t.Errorf("the deployed build: %+v, %v", info, err)
	}
	f.checkAllVariables(t, f.serve(t))
	unharmed("after the session")
	f.restore(t)
	unharmed("after the restore")
	if got := f.nodeState(t); got != before {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", got, before)
	}
}

// labelAttr holds the label of SELinux. Root can set it without SELinux too.
const labelAttr = "security.selinux"

func (f *fixture) setLabel(t *testing.T) {
	t.Helper()
	file := filepath.Join(f.node.RootFS(), containerdPath)
	if err := unix.Setxattr(file, labelAttr, []byte("system_u:object_r:container_runtime_exec_t:s0\x00"), 0); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) label(t *testing.T) string {
	t.Helper()
	value := make([]byte, 100)
	n, err := unix.Getxattr(filepath.Join(f.node.RootFS(), containerdPath), labelAttr, value)
	if err != nil {
		t.Fatal(err)
	}
	return string(value[:n])
}

// version returns the output of --version of the installed containerd, which the
// linker's -X flags have set.
func (f *fixture) version(t *testing.T) string {
	t.Helper()
	out, err := f.node.Exec(t.Context(), containerdPath, "--version")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// whileFrozen runs do while the control group of containerd's unit is frozen.
func (f *fixture) whileFrozen(t *testing.T, do func()) {
	t.Helper()
	const freeze = " >/sys/fs/cgroup/system.slice/containerd.service/cgroup.freeze"
	f.root(t, "echo 1"+freeze)
	defer f.root(t, "echo 0"+freeze)
	do()
}

// TestDeployKubelet replaces a kubelet. One that hangs is active for systemd, and is
// rolled back because its health endpoint does not answer; another build of the real one
// serves until it is restored. The processes of a pod survive both.
func TestDeployKubelet(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	pod := f.startPod(t)
	f.waitPod(t, pod)
	before, shims := f.nodeState(t), f.shims(t)
	unharmed := func(after string) {
		t.Helper()
		if got := f.shims(t); !allAlive(shims, got) {
			t.Errorf("%s: processes\n%s\nbefore\n%s", after, got, shims)
		}
	}
	target := []string{"--target", "kubelet"}
	cmd := f.deployCommand(t, append(target, "--ready", "5s", f.program(t, hangs, 0))...)
	checkFails(t, cmd, failure{4, "http://127.0.0.1:10248/healthz does not answer", "runs again"})
	unharmed("after a deploy that failed")

	built := filepath.Join(f.dir, "kubelet")
	if out, err := exec.Command("cp", filepath.Join(f.node.RootFS(), "usr/bin/kubelet"), built).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer os.Remove(built)
	d := f.deploy(t, append(target, "--build=cp "+built+" $OUT && echo another >>$OUT")...)
	t.Logf("%d bytes sent in %v, served after %v", d.Built.Size, d.Send, d.Deployed.Served)
	if !d.Deployed.Swapped || d.Deployed.PID == 0 || len(d.Deployed.Lost) > 0 {
		t.Errorf("%+v", d)
	}
	unharmed("after the deploy")
	f.checkWorks(t, "")
	f.restore(t)
	unharmed("after the restore")
	if got := f.nodeState(t); got != before {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", got, before)
	}
	f.checkWorks(t, "")
}
