package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"golang.org/x/sys/unix"
)

// anotherBuild returns the --build flag for a containerd that differs from all before
// and takes no time to build: the node's own with some bytes appended.
func (f *fixture) anotherBuild(t testing.TB) string {
	t.Helper()
	own := filepath.Join(f.dir, "containerd-of-the-node")
	if _, err := os.Stat(own); err != nil {
		data, err := os.ReadFile(filepath.Join(f.node.RootFS(), containerdPath))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(own, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(`--build=cp %s "$OUT" && printf %s >>"$OUT"`, own, rand.Text())
}

// TestDeployShips measures what is uploaded of a build: only the difference from the
// previous one, if the node runs that.
func TestDeployShips(t *testing.T) {
	f := setup(t)
	f.restore(t)
	before := f.nodeState(t)
	ship := func(delta bool) {
		t.Helper()
		d := f.deploy(t, f.anotherBuild(t))
		t.Logf("%d bytes for %d", d.Sent, d.Built.Size)
		if d.Delta != delta || d.Sent == 0 || (d.Sent < d.Built.Size/100) != delta {
			t.Errorf("sent %d bytes for %d, as a delta: %v, want %v", d.Sent, d.Built.Size, d.Delta, delta)
		}
	}
	ship(false)
	ship(true)
	same := f.anotherBuild(t)
	f.deploy(t, same)
	if again := f.deploy(t, same); again.Sent != 0 || again.Deployed.Served != 0 {
		t.Errorf("the same again: %+v", again)
	}
	f.root(t, "cd /usr/bin; cp -p containerd somebody; printf somebody >>somebody; mv somebody containerd; systemctl restart containerd")
	checkFails(t, f.deployCommand(t, f.anotherBuild(t)), failure{4, "was replaced since the last deploy", "--replaced keep"})
	f.runFailing(t, failure{4, "was replaced since the last deploy", "--replaced undo"}, append([]string{"restore"}, f.nodeArgs()...)...)
	f.restore(t, "--replaced", "undo")
	if after := f.nodeState(t); after != before {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", after, before)
	}
}

const (
	nextPath   = "/usr/bin/.containerd.dapbridge-next"
	prevPath   = "/usr/bin/.containerd.dapbridge-prev"
	keptPath   = "/var/lib/minikube/dapbridge/swap/containerd.service"
	keptRecord = keptPath + "/record.json"
)

func (f *fixture) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(f.node.RootFS(), path))
	return err == nil
}

// waitSwapEnd waits until no deploy or restore runs on the node.
func (f *fixture) waitSwapEnd(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		if left := f.agentProcesses(t)["swap"]; len(left) > 0 {
			return "a deploy or restore is still running"
		}
		return ""
	})
}

// recordedStage returns the stage of a deploy that the node has recorded, or "".
func (f *fixture) recordedStage() string {
	data, _ := os.ReadFile(filepath.Join(f.node.RootFS(), keptRecord))
	var record struct{ Stage string }
	_ = json.Unmarshal(data, &record)
	return record.Stage
}

// killAt kills the agent with SIGKILL between two of its steps: when it opens one of the
// directories in which it creates files, to sync it to the disk, and now returns true. A
// permission event of fanotify(7) holds the agent meanwhile; other processes pass. The
// returned function ends the watch and reports whether the agent was killed.
func (f *fixture) killAt(t *testing.T, now func() bool) (came func() bool) {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "fanotify")
	watch := func(dir string) error {
		return unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_ONDIR, unix.AT_FDCWD, filepath.Join(f.node.RootFS(), dir))
	}
	f.root(t, "mkdir -p -m 700 "+keptPath)
	for _, dir := range []string{filepath.Dir(keptPath), keptPath, filepath.Dir(containerdPath)} {
		if err := watch(dir); err != nil {
			t.Fatal(err)
		}
	}
	killed := false
	var wg sync.WaitGroup
	wg.Go(func() {
		defer events.Close() // which lets all pass that wait
		buf := make([]byte, unix.FAN_EVENT_METADATA_LEN)
		for {
			if n, err := events.Read(buf); err != nil || n < len(buf) {
				return
			}
			m := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&buf[0]))
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.Pid)); !killed && filepath.Base(exe) == "dapbridge" {
				_ = watch(keptPath) // the first deploy makes it anew
				if killed = now(); killed {
					_ = unix.Kill(int(m.Pid), unix.SIGKILL)
				}
			}
			answer := unix.FanotifyResponse{Fd: m.Fd, Response: unix.FAN_ALLOW}
			_, _ = events.Write(unsafe.Slice((*byte)(unsafe.Pointer(&answer)), unsafe.Sizeof(answer)))
			unix.Close(int(m.Fd))
		}
	})
	end := sync.OnceValue(func() bool {
		events.Close()
		wg.Wait()
		return killed
	})
	t.Cleanup(func() { end() })
	return end
}

// TestDeployAgentKilled kills the agent between two of its steps. The next deploy, which
// is killed between two other steps, or a restore repairs that.
func TestDeployAgentKilled(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	pod := f.startPod(t)
	f.waitPod(t, pod)
	before, shims, original := f.nodeState(t), f.shims(t), f.inode(t)
	crash := f.program(t, crashes, 0)
	swapping := func() bool { return f.recordedStage() == "swapping" }
	for _, tt := range []struct {
		name  string
		build string // "" for one that serves
		now   func() bool
		then  bool // restore
	}{
		{"the copy of the original, without a record", "", func() bool { return f.exists(keptPath+"/original") && !f.exists(keptRecord) }, false},
		{"the first record", "", func() bool { return f.recordedStage() == "kept" }, false},
		{"the record of the swap", "", func() bool { return swapping() && f.exists(nextPath) }, true},
		{"the new file, and no restart", "", func() bool { return swapping() && !f.exists(nextPath) && f.inode(t) != original }, false},
		{"the record of what serves", "", func() bool { return f.recordedStage() == "deployed" }, true},
		{"the former file, taken back", crash, func() bool { return swapping() && !f.exists(prevPath) && !f.exists(nextPath) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			build := tt.build
			if build == "" {
				build = f.anotherBuild(t)
			}
			came := f.killAt(t, tt.now)
			out, err := f.deployCommand(t, build).CombinedOutput()
			if !came() {
				t.Fatalf("the condition never held: %v\n%s", err, out)
			}
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
				t.Errorf("%v, want exit status 3: %s", err, out)
			}
			if tt.then {
				f.restore(t)
				f.checkRestored(t, before, shims)
				original = f.inode(t)
			}
		})
	}
	f.checkWorks(t, "")
}

// inode distinguishes the executable's file from another one with the same content.
func (f *fixture) inode(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(f.node.RootFS(), containerdPath), &st); err != nil {
		t.Error(err)
	}
	return st.Ino
}

func (f *fixture) checkRestored(t *testing.T, before, shims string) {
	t.Helper()
	if after := f.nodeState(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	if got := f.shims(t); got != shims {
		t.Errorf("processes\n%s\nbefore\n%s", got, shims)
	}
}

// TestDeployKilledAnywhere kills the agent or the host's program at random moments of
// several deploys, and then restores.
func TestDeployKilledAnywhere(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	before, shims := f.nodeState(t), f.shims(t)
	f.deploy(t, f.anotherBuild(t))
	start := time.Now()
	f.deploy(t, f.anotherBuild(t))
	took := time.Since(start)
	for i := range testenv.Rounds(t, 2) {
		after := time.Duration(mathrand.Int64N(int64(took)))
		cmd := f.deployCommand(t, f.anotherBuild(t))
		said := &testenv.Buffer{}
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		what := "host"
		if i%2 == 0 {
			what = "agent"
			f.killAgents(t)
		} else {
			cmd.Process.Kill()
		}
		cmd.Wait()
		f.waitSwapEnd(t)
		t.Logf("%s killed after %v of %v, stage %q: %s", what, after.Round(time.Millisecond), took.Round(time.Millisecond), f.recordedStage(), lastLine(said.String()))
	}
	f.restore(t)
	f.checkRestored(t, before, shims)
	f.checkWorks(t, "")
}

// killAgents kills the agent processes that run a deploy, if there are any.
func (f *fixture) killAgents(t *testing.T) {
	t.Helper()
	for _, p := range f.agentProcesses(t)["swap"] {
		_, _ = f.node.Exec(context.WithoutCancel(t.Context()), "kill", "-KILL", fmt.Sprint(p.pid)) // it may have ended
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
