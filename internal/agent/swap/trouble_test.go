//go:build linux

package swap

import (
	"context"
	"errors"
	"io"
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

// atEnd calls do when everything has been read.
type atEnd struct {
	io.Reader
	do func()
}

func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		a.do()
	}
	return n, err
}

// TestUpgraded replaces the executable after a deploy that changed nothing, and after
// a complete one: restore does what it is told to.
func TestUpgraded(t *testing.T) {
	t.Run("interrupted", func(t *testing.T) {
		b := newBench(t)
		bin, upgrade := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "upgrade")
		install(t, bin, newExecutable(t, "original"))
		b.start("a.service", bin, "true")
		ctx, cancel := context.WithCancel(t.Context())
		if err := b.deploy(ctx, "a.service", newExecutable(t, "build"), func(r io.Reader) io.Reader { return &atEnd{r, cancel} }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		install(t, bin, upgrade)
		b.mustRestore("", 0)
		b.mustHave(bin, upgrade)
	})
	for _, stage := range []string{stageKept, stageDeployed} {
		t.Run(stage, func(t *testing.T) {
			b := newBench(t)
			etc := t.TempDir()
			bin, build, upgrade := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "build"), newExecutable(t, "upgrade")
			install(t, bin, newExecutable(t, "original"))
			in := newDropIn(etc, "a.service", "WatchdogSec=0")
			b.recordDeploy("a.service", bin, stage, build, in)
			install(t, bin, upgrade)
			b.start("a.service", bin, "true")
			if stage == stageDeployed {
				if err := b.deploy(t.Context(), "a.service", build, nil); diag.CodeOf(err) != diag.DeployRefused || !strings.Contains(err.Error(), "was replaced") {
					t.Errorf("deploy: %v", err)
				}
			}
			if stage == stageKept {
				b.mustRestore("", 1) // of a unit that was not changed
				b.mustRestore(api.KeepReplaced, 0)
				b.mustHave(bin, upgrade)
				return
			}
			_, err := b.Restore(t.Context(), api.RestoreRequest{})
			if diag.CodeOf(err) != diag.RestoreFailed || !strings.Contains(err.Error(), "was replaced") {
				t.Errorf("restore without Replaced: %v", err)
			}
			b.mustHave(bin, upgrade)
			unit := b.mustRestore(api.KeepReplaced, 1)[0]
			testenv.Equal(t, "File", unit.File, false)
			testenv.Equal(t, "Replaced", unit.Replaced, true)
			b.mustHave(bin, upgrade)
			if _, err := os.Stat(in.Path); err == nil {
				t.Error("the drop-in is left")
			}
			if err := b.deploy(t.Context(), "a.service", build, nil); err != nil {
				t.Errorf("the next deploy: %v", err)
			}
			b.mustRestore("", 1)
			b.mustHave(bin, upgrade)
		})
	}
	t.Run("undone", func(t *testing.T) {
		b := newBench(t)
		bin, original := filepath.Join(t.TempDir(), "daemon"), newExecutable(t, "original")
		install(t, bin, original)
		b.recordDeploy("a.service", bin, stageDeployed, newExecutable(t, "build"))
		install(t, bin, newExecutable(t, "by hand"))
		b.start("a.service", bin, "true")
		before := b.pid("a.service")
		testenv.Equal(t, "Replaced", b.mustRestore(api.UndoReplaced, 1)[0].Replaced, true)
		b.mustHave(bin, original)
		if b.pid("a.service") == before {
			t.Error("a.service was not restarted")
		}
	})
}

// TestRestoreAgain lets a restore fail after it has removed the drop-ins: the second
// one still restarts the unit that runs with them.
func TestRestoreAgain(t *testing.T) {
	b := newBench(t)
	dir, etc := t.TempDir(), t.TempDir()
	bin, original, build := filepath.Join(dir, "daemon"), newExecutable(t, "original"), newExecutable(t, "build")
	install(t, bin, original)
	b.recordDeploy("a.service", bin, stageDeployed, build, newDropIn(etc, "k.service", "ExecStart=x"))
	install(t, bin, build)
	install(t, filepath.Join(dir, "kubelet"), newExecutable(t, "kubelet"))
	b.start("a.service", bin, "true")
	b.start("k.service", filepath.Join(dir, "kubelet"), "true")
	before := b.pid("k.service")
	b.write("fails-restart", "")
	if _, err := b.Restore(t.Context(), api.RestoreRequest{}); diag.CodeOf(err) != diag.RestoreFailed {
		t.Fatalf("without a restart: %v", err)
	}
	b.remove("fails-restart")
	b.commands()
	b.mustRestore("", 1)
	b.mustHave(bin, original)
	if said := b.commands(); b.pid("k.service") == before || !strings.Contains(said, "daemon-reload") {
		t.Errorf("k.service goes on with what the drop-in said:\n%s", said)
	}
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
		t.Errorf("systemd was not told:\n%s", said)
	}
}

// TestReloadAfterAKill finds a drop-in as wanted, but does not know whether systemd
// has read it.
func TestReloadAfterAKill(t *testing.T) {
	b := newBench(t)
	in := newDropIn(t.TempDir(), "a.service", "WatchdogSec=0")
	if err := in.write(); err != nil {
		t.Fatal(err)
	}
	for unsure, want := range map[bool]string{false: "", true: "daemon-reload\n"} {
		changed, err := b.systemd.apply(t.Context(), []dropIn{in}, []dropIn{in}, unsure)
		if err != nil {
			t.Fatal(err)
		}
		testenv.Equal(t, "commands", b.commands(), want)
		testenv.Equal(t, "whether a unit has changed", len(changed) == 1, unsure)
	}
}

// TestDropInDirIsALink removes a drop-in from a directory that is a symbolic link.
func TestDropInDirIsALink(t *testing.T) {
	etc, real := t.TempDir(), t.TempDir()
	if err := os.Symlink(real, filepath.Join(etc, "k.service.d")); err != nil {
		t.Fatal(err)
	}
	in := newDropIn(etc, "k.service", "WatchdogSec=0")
	if err := in.write(); err != nil {
		t.Fatal(err)
	}
	if was, err := in.remove(); err != nil || !was {
		t.Fatal(was, err)
	}
	if _, err := os.Stat(filepath.Join(etc, "k.service.d")); err != nil {
		t.Error(err)
	}
}

// TestLockOfRemovedStore waits for the lock of a restore, which removes the store at
// its end.
func TestLockOfRemovedStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "swap")
	_, unlock, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	type opened struct {
		unlock func()
		err    error
	}
	waits := make(chan opened)
	go func() {
		_, unlock, err := openStore(dir)
		waits <- opened{unlock, err}
	}()
	for deadline := time.Now().Add(10 * time.Second); openFiles(t, filepath.Join(dir, "lock")) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the second run does not open the lock")
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
	second := <-waits
	if second.err != nil {
		t.Fatal(second.err)
	}
	defer second.unlock()
	if !isLocked(t, filepath.Join(dir, "lock")) {
		t.Error("two runs have the lock")
	}
}

// openFiles counts this process's descriptors of a file.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == path {
			n++
		}
	}
	return n
}

func isLocked(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
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

// TestRestoreAfterMove moves the executable, as an upgrade may, and removes the unit.
func TestRestoreAfterMove(t *testing.T) {
	for _, gone := range []bool{false, true} {
		b := newBench(t)
		dir := t.TempDir()
		bin, moved, build := filepath.Join(dir, "daemon"), filepath.Join(dir, "moved"), newExecutable(t, "build")
		install(t, bin, newExecutable(t, "original"))
		b.recordDeploy("a.service", bin, stageDeployed, build)
		if err := os.Remove(bin); err != nil {
			t.Fatal(err)
		}
		before := 0
		if !gone {
			install(t, moved, newExecutable(t, "upgrade"))
			b.start("a.service", moved, "true")
			before = b.pid("a.service")
		}
		testenv.Equal(t, "restarted units", b.mustRestore("", 1)[0].Restarted, []string{})
		if _, err := os.Stat(bin); err == nil {
			t.Errorf("gone %v: the original was put back", gone)
		}
		testenv.Equal(t, "pid", b.pid("a.service"), before)
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
		look := func(when string) {
			if v, err := b.newView(t.Context(), s, api.Selector{Name: "dapbridge-dead"}, false); err != nil || v.Unit != unit {
				t.Errorf("%s: %+v, %v", when, v.InspectResult, err)
			}
		}
		look("dead")
		stranger := filepath.Join(t.TempDir(), "dapbridge-dead")
		install(t, stranger, newExecutable(t, "another"))
		cmd := exec.Command(stranger, "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		look("beside a stranger")
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

// TestAttachLock checks that swap and attach exclude each other.
func TestAttachLock(t *testing.T) {
	s, unlock, err := openStore(filepath.Join(t.TempDir(), "swap"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	release, err := PreventSwap(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*pollPause)
	defer cancel()
	if _, err := s.preventAttach(ctx); err == nil {
		t.Error("a swap begins while a debugger attaches")
	}
	release()
	release, err = s.preventAttach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !isLocked(t, filepath.Join(s.dir, "attach")) {
		t.Error("a debugger may attach")
	}
	release()
}

// TestStoreElsewhere finds the store of an agent in another directory.
func TestStoreElsewhere(t *testing.T) {
	b := newBench(t)
	bin := filepath.Join(t.TempDir(), "daemon")
	install(t, bin, newExecutable(t, "original"))
	b.recordDeploy("a.service", bin, stageDeployed, nil)
	here, there := filepath.Join(t.TempDir(), "dapbridge"), filepath.Dir(b.Dir)
	if got := Store(here, []string{there, here}); got != b.Dir {
		t.Errorf("with a record in %s: %s", b.Dir, got)
	}
	if got, want := Store(here, []string{here}), filepath.Join(here, "swap"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := Store(here, []string{there}), filepath.Join(here, "swap"); got != want {
		t.Errorf("an agent that stands where no host puts it: %s, want %s", got, want)
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
