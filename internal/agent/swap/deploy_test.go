//go:build linux

package swap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// rollBackFailing swaps in a build that does not serve, with a drop-in for another
// unit, calls spoil and rolls back.
func rollBackFailing(t *testing.T, b bench, spoil func()) (bin string, original []byte, err error) {
	t.Helper()
	dir, etc := t.TempDir(), t.TempDir()
	bin, original = filepath.Join(dir, "daemon"), newExecutable(t, "original")
	build := newExecutable(t, "build")
	install(t, bin, original)
	b.start("a.service", bin, "true")
	install(t, filepath.Join(dir, "kubelet"), newExecutable(t, "kubelet"))
	// Like kubelet, it exits without its runtime.
	b.start("k.service", filepath.Join(dir, "kubelet"), "sed -n 2,3p /proc/$(cat a.service.pid)/status | grep -q '^State:.[SR]'")
	s, unlock, err := openStore(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	file, err := describeFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	d := &deploy{Runner: b.Runner, store: s, q: api.DeployRequest{SHA256: sum(string(build)), Size: int64(len(build)), Ready: time.Second},
		view: view{InspectResult: api.InspectResult{Unit: "a.service", Path: bin, SHA256: file.SHA256, PID: b.pid("a.service")}, file: file}}
	if err := d.saveOriginal(); err != nil {
		t.Fatal(err)
	}
	d.former = *d.rec
	d.rec.Sockets = []string{filepath.Join(etc, "containerd.sock")} // on which nobody answers
	d.change.want = []dropIn{newDropIn(etc, "k.service", "ExecStart=x"), newDropIn(etc, "a.service", "WatchdogSec=0")}
	install(t, siblingPath(bin, "next"), build)
	if err := os.Link(bin, siblingPath(bin, "prev")); err != nil {
		t.Fatal(err)
	}
	_, err = d.swap(t.Context())
	if err == nil || !d.swapped {
		t.Fatalf("swap: %v", err)
	}
	spoil()
	return bin, original, d.rollBack(t.Context(), err)
}

// TestRollBack checks that the former build is started before the units that need it.
func TestRollBack(t *testing.T) {
	b := newBench(t)
	bin, original, err := rollBackFailing(t, b, func() {})
	testenv.Equal(t, "code", diag.CodeOf(err), diag.DeployFailed)
	b.mustHave(bin, original)
	b.mustBeUp("a.service", "k.service")
}

// TestRollBackIncomplete fails to undo everything: the former build is started
// nevertheless.
func TestRollBackIncomplete(t *testing.T) {
	b := newBench(t)
	bin, original, err := rollBackFailing(t, b, func() { b.write("fails-daemon-reload", "") })
	testenv.Equal(t, "code", diag.CodeOf(err), diag.DeployStuck)
	b.mustHave(bin, original)
	b.mustBeUp("a.service")
}

// TestTwoUnitsOfOneFile deploys to both: for the second one, the file is not the
// original.
func TestTwoUnitsOfOneFile(t *testing.T) {
	b := newBench(t)
	bin, original := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "original")
	install(t, bin, original)
	b.start("a.service", bin, "true")
	b.start("b.service", bin, "true")
	if err := b.deploy(t.Context(), "a.service", newExecutable(t, "build"), nil); err != nil {
		t.Fatal(err)
	}
	if err := b.deploy(t.Context(), "b.service", newExecutable(t, "another build"), nil); diag.CodeOf(err) != diag.DeployRefused || !strings.Contains(err.Error(), "a.service") {
		t.Errorf("the second one: %v", err)
	}
	b.mustRestore("", 1)
	b.mustHave(bin, original)
}

// TestKilledArgs deploys with arguments, and is killed; then a deploy without
// arguments fails. The former build must not be started with the arguments.
func TestKilledArgs(t *testing.T) {
	b := newBench(t)
	bin, etc := filepath.Join(t.TempDir(), "daemon"), t.TempDir()
	install(t, bin, newExecutable(t, "original"))
	b.start("a.service", bin, "true")
	in := newDropIn(etc, "a.service", "ExecStart=", "ExecStart="+bin+" --bad")
	b.recordDeploy("a.service", bin, stageSwapping, newExecutable(t, "build"), in)
	err := b.deploy(t.Context(), "a.service", []byte("#!/bin/sh\nexit 1\n"), nil)
	if diag.CodeOf(err) != diag.DeployFailed || !b.isUp("a.service") {
		t.Errorf("deploy: %v", err)
	}
	if _, err := os.Stat(in.Path); err == nil {
		t.Error("the killed run's arguments are there")
	}
	if said := b.commands(); !strings.Contains(said, "daemon-reload") {
		t.Errorf("systemd was not reloaded:\n%s", said)
	}
}

// TestIrreplaceable deploys where nothing can be renamed to: nothing is restarted.
func TestIrreplaceable(t *testing.T) {
	b := newBench(t)
	bin, elsewhere := filepath.Join(t.TempDir(), "daemon"), filepath.Join(t.TempDir(), "daemon")
	install(t, elsewhere, newExecutable(t, "original"))
	install(t, bin, nil)
	if err := unix.Mount(elsewhere, bin, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(bin, unix.MNT_DETACH) })
	b.start("a.service", bin, "true")
	err := b.deploy(t.Context(), "a.service", newExecutable(t, "build"), nil)
	if diag.CodeOf(err) != diag.DeployRefused || !strings.Contains(err.Error(), "cannot be replaced") {
		t.Error(err)
	}
	if said := b.commands(); said != "" {
		t.Errorf("it asked for:\n%s", said)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(bin), ".*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if _, err := os.Stat(filepath.Join(b.Dir, "a.service", recordName)); err == nil {
		t.Error("a record is left of what was not done")
	}
}

// TestSlowStop lets the former process take longer to exit than the new one may take
// to serve.
func TestSlowStop(t *testing.T) {
	b := newBench(t)
	bin := filepath.Join(t.TempDir(), "daemon")
	install(t, bin, newExecutable(t, "original"))
	b.start("a.service", bin, "true")
	b.write("stopping", "")
	stopped := time.AfterFunc(2*time.Second, func() { os.Remove(filepath.Join(b.dir, "stopping")) })
	defer stopped.Stop()
	if _, err := b.restart(t.Context(), goal{unit: "a.service", path: bin}, time.Second); err != nil {
		t.Error(err)
	}
}

// TestDeadTarget finds the record of a killed run for a target that is not running,
// even if another process has its name, and if its unit has another name.
func TestDeadTarget(t *testing.T) {
	for _, unit := range []string{"dapbridge-dead.service", "other.service"} {
		b := newBench(t)
		bin := filepath.Join(t.TempDir(), "dapbridge-dead")
		install(t, bin, newExecutable(t, "original"))
		b.recordDeploy(unit, bin, stageSwapping, nil)
		s, unlock, err := openStore(b.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		checkFound := func(when string) {
			if v, err := b.newView(t.Context(), s, api.Selector{Name: "dapbridge-dead"}, false); err != nil || v.Unit != unit {
				t.Errorf("%s: %+v, %v", when, v.InspectResult, err)
			}
		}
		checkFound("dead")
		stranger := filepath.Join(t.TempDir(), "dapbridge-dead")
		install(t, stranger, newExecutable(t, "another"))
		cmd := exec.Command(stranger, "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		checkFound("beside a stranger")
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// TestRestartUnitWithoutProcess restarts a unit without a process.
func TestRestartUnitWithoutProcess(t *testing.T) {
	b := newBench(t)
	b.write("k.service.start", "exec sleep 600")
	if err := b.restartUnit(t.Context(), "k.service", 4*time.Second); err != nil || !b.isUp("k.service") {
		t.Error(err)
	}
}

// TestApplyRemovesAttributes removes an attribute inherited from the directory.
func TestApplyRemovesAttributes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "daemon")
	install(t, path, []byte("x"))
	want, err := describeFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// user::rwx user:1000:rwx group::r-x mask::rwx other::r-x (acl(5), POSIX_ACL_XATTR_VERSION 2)
	acl := []byte{
		2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255,
	}
	if err := unix.Setxattr(dir, "system.posix_acl_default", acl, 0); err != nil {
		testenv.Skipf(t, "no ACLs here: %v", err)
	}
	next := filepath.Join(dir, "next")
	if err := createFile(next, strings.NewReader("x"), 1, want.SHA256, want.apply); err != nil {
		t.Fatal(err)
	}
	got, err := describeFile(next)
	if err != nil || len(got.Xattrs) != len(want.Xattrs) || got.Mode != want.Mode {
		t.Errorf("%v, mode %o, want %v, %o (%v)", got.Xattrs, got.Mode, want.Xattrs, want.Mode, err)
	}
}
