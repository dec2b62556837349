package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/host/remote/remotetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// rsynced is [synced] with the part that was sent by rsync.
type rsynced struct {
	synced
	Deltas   int    `json:"deltas"`
	Saved    int64  `json:"saved"`
	NoDeltas string `json:"noDeltas"`
}

// byRsync is [fixture.sync] with a directory in front of the user's PATH.
func (f *fixture) byRsync(t testing.TB, status int, programs string, args ...string) (r rsynced) {
	t.Helper()
	cmd := f.syncCommand(t.Context(), args...)
	if programs != "" {
		cmd.Env = append(cmd.Env, "PATH="+programs+":"+os.Getenv("PATH"))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("dapbridge sync %q: %v, want status %d\n%s%s", args, err, status, out, stderr.String())
	}
	if len(out) > 0 {
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return r
}

func (f *fixture) syncCommand(ctx context.Context, args ...string) *exec.Cmd {
	return f.command(ctx, userUID, slices.Concat([]string{"sync", "-o", "json"}, f.nodeArgs(), args)...)
}

// noise returns n random bytes.
func noise(n int) string {
	text := make([]byte, n)
	_, _ = rand.Read(text)
	return string(text)
}

// nothingTemporary checks that a run has left no temporary files in a copy on the node.
func (f *fixture) nothingTemporary(t *testing.T, to string) {
	t.Helper()
	all, err := holds(f.onNode(to), func(path string) bool { return strings.Contains(path, frame.TemporaryPrefix) })
	if err != nil || len(all) > 0 {
		t.Errorf("left in %s: %d, %v", to, len(all), err)
	}
}

// TestRsync sends the differences of large files, and whole files where that is not
// possible.
func TestRsync(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "by rsync, 'it' $is")
	large := filepath.Join(dir, "sub", "large")
	text := noise(16 << 20)
	edit := func(what string) {
		t.Helper()
		text = text[:4<<20] + what + text[4<<20:]
		writeAsUser(t, large, text)
	}
	equal := func(after string) {
		t.Helper()
		if paths := f.differ(dir, to, nil); len(paths) > 0 {
			t.Errorf("after %s these differ: %q", after, paths)
		}
		f.nothingTemporary(t, to)
	}
	edit("")
	if r := f.byRsync(t, 0, "", dir, "--to", to); r.Files != 2 || r.Deltas != 0 || r.NoDeltas != "" {
		t.Errorf("%+v", r)
	}
	edit("one line\n")
	if r := f.byRsync(t, 0, "", dir, "--to", to); r.Deltas != 1 || r.Saved < 15<<20 || r.NoDeltas != "" {
		t.Errorf("%+v", r)
	}
	equal("an edit")

	// Unsuitable programs on the host, and none on the node.
	for said, why := range map[string]string{
		"rsync  version 2.6.9  protocol version 29": "too old", "openrsync: protocol version 29": "brew install rsync",
		"rsync  version 3.2.7  protocol version 31": "CVE-2024-12086",
	} {
		programs := filepath.Join(f.dir, "programs")
		writeAsUser(t, filepath.Join(programs, "rsync"), "#!/bin/sh\necho '"+said+"'\n")
		os.Chmod(filepath.Join(programs, "rsync"), 0o755)
		edit(said)
		if r := f.byRsync(t, 0, programs, dir, "--to", to); r.Deltas != 0 || !strings.Contains(r.NoDeltas, why) || !strings.Contains(r.NoDeltas, "install rsync 3.4") {
			t.Errorf("%s: %+v", said, r)
		}
		equal(said)
		os.RemoveAll(programs)
	}
	f.root(t, "mv /usr/bin/rsync /usr/bin/rsync.away")
	t.Cleanup(func() { f.root(t, "test ! -e /usr/bin/rsync.away || mv /usr/bin/rsync.away /usr/bin/rsync") })
	edit("none there")
	if r := f.byRsync(t, 0, "", dir, "--to", to); r.Deltas != 0 || !strings.Contains(r.NoDeltas, "the node has no rsync") || !strings.Contains(r.NoDeltas, "apt-get install") {
		t.Errorf("%+v", r)
	}
	equal("none on the node")
	f.root(t, "mv /usr/bin/rsync.away /usr/bin/rsync")

	// An unreadable file is reported, and the others are sent.
	edit("and another's")
	locked := filepath.Join(dir, "sub", "locked")
	writeAsUser(t, locked, noise(1<<20))
	f.byRsync(t, 0, "", dir, "--to", to)
	writeAsUser(t, locked, noise(1<<20))
	edit("again")
	if err := os.Chown(locked, 0, 0); err != nil {
		t.Fatal(err)
	}
	os.Chmod(locked, 0o600)
	if r := f.byRsync(t, 3, "", dir, "--to", to); r.Deltas != 1 || len(r.Failed) != 1 || r.Failed[0].Path != "sub/locked" || !strings.Contains(r.Failed[0].Why, "permission denied") {
		t.Errorf("%+v", r)
	}
	os.Remove(locked)
	f.byRsync(t, 0, "", dir, "--to", to)
	equal("an unreadable file")
}

// TestRsyncNoRoom reports what does not fit on the node's disk or may not be written
// there, and keeps the previous content.
func TestRsyncNoRoom(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "no room")
	large := filepath.Join(dir, "large")
	text := noise(3 << 20)
	writeAsUser(t, large, text)
	os.RemoveAll(filepath.Join(dir, "sub"))
	f.root(t, "mkdir -p '"+to+"' && mount -t tmpfs -o size=5m tmpfs '"+to+"' && chown docker: '"+to+"'")
	t.Cleanup(func() { f.root(t, "umount '"+to+"'") })
	f.byRsync(t, 0, "", dir, "--to", to)
	writeAsUser(t, large, text+noise(1<<20))
	for why, mount := range map[string]string{"no space left": "size=5m", "read-only file system": "ro"} {
		f.root(t, "mount -o remount,"+mount+" '"+to+"'")
		r := f.byRsync(t, 3, "", dir, "--to", to)
		if r.Files != 0 || len(r.Failed) != 1 || r.Failed[0].Path != "large" || !strings.Contains(r.Failed[0].Why, why) || r.NoDeltas == "" {
			t.Errorf("%s: %+v", why, r)
		}
		if there, err := os.ReadFile(f.onNode(to + "/large")); string(there) != text {
			t.Errorf("%s: %d bytes stand there, %v", why, len(there), err)
		}
		f.root(t, "mount -o remount,rw '"+to+"'")
		f.nothingTemporary(t, to)
	}
	f.root(t, "mount -o remount,size=9m '"+to+"'")
	f.byRsync(t, 0, "", dir, "--to", to)
	if paths := f.differ(dir, to, nil); len(paths) > 0 {
		t.Errorf("with room these differ: %q", paths)
	}
}

// TestRsyncKilled kills each of the programs during a transfer. The run continues, or
// the next one makes the trees equal; no process and no temporary file remains.
func TestRsyncKilled(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "rsync killed")
	large := filepath.Join(dir, "large")
	writeAsUser(t, large, noise(48<<20))
	f.byRsync(t, 0, "", dir, "--to", to)
	here := func(name string) func(host *os.Process) {
		return func(host *os.Process) { killBelow(t, host.Pid, f.running(name, dir)) }
	}
	there := func(script string) func(*os.Process) {
		return func(*os.Process) { f.root(t, script) }
	}
	for _, tt := range []struct {
		what   string
		kill   func(host *os.Process)
		status int // of the run that this happens to
	}{
		{"the host's process", func(host *os.Process) { host.Kill() }, -1},
		{"the host's rsync", here("rsync"), 0},
		{"the remote shell", here("dapbridge"), 0},
		{"the node's rsync", there("pkill -KILL -x -u docker rsync"), 0},
		{"the receiver", there("pkill -KILL -x -u docker dapbridge"), 3},
		{"Ctrl-C", func(host *os.Process) { host.Signal(os.Interrupt) }, 130},
	} {
		t.Run(tt.what, func(t *testing.T) {
			writeAsUser(t, large, noise(48<<20)) // nothing is the same, so that it takes a while
			cmd := f.syncCommand(short(t), dir, "--to", to)
			out := &testenv.Buffer{}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, 30*time.Second, unless("rsync has sent nothing", func() bool {
				staged, _ := filepath.Glob(f.onNode(to) + "/" + frame.TemporaryPrefix + "*/.large.*")
				return len(staged) > 0
			}))
			tt.kill(cmd.Process)
			cmd.Wait()
			if cmd.ProcessState.ExitCode() != tt.status {
				t.Errorf("it ended with %v, want status %d\n%s", cmd.ProcessState, tt.status, out)
			}
			eventually(t, 10*time.Second, unless("a program is still running", func() bool {
				_, err := f.node.Exec(t.Context(), "pgrep", "-u", "docker", "rsync|dapbridge")
				return err != nil && len(f.running("rsync", dir)) == 0 && len(f.running("dapbridge", dir)) == 0
			}))
			f.byRsync(t, 0, "", dir, "--to", to)
			if paths := f.differ(dir, to, nil); len(paths) > 0 {
				t.Errorf("these differ: %q", paths)
			}
			f.nothingTemporary(t, to)
		})
	}
}

// running are the processes of that name that belong to the copying of dir: those
// that stand in it, or run the program under test.
func (f *fixture) running(name, dir string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		comm, _ := os.ReadFile(proc + "/comm")
		exe, _ := os.Readlink(proc + "/exe")
		cwd, _ := os.Readlink(proc + "/cwd")
		pid, _ := strconv.Atoi(filepath.Base(proc))
		if strings.TrimSpace(string(comm)) == name && (exe == f.bin || cwd == dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killBelow kills one of the processes that descends from pid.
func killBelow(t *testing.T, pid int, processes []int) {
	t.Helper()
	for _, p := range processes {
		for above := p; above > 1 && p != pid; {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", above))
			fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
			if len(fields) < 2 {
				break
			}
			if above, _ = strconv.Atoi(fields[1]); above == pid {
				syscall.Kill(p, syscall.SIGKILL)
				return
			}
		}
	}
	t.Fatalf("none of the processes %v runs below process %d", processes, pid)
}

// TestRsyncTree changes each of containerd's files and sends all of them by rsync,
// including small ones, through the program's own `dapbridge rsh`.
func TestRsyncTree(t *testing.T) {
	f := setupAll(t)
	base := t.TempDir()
	dir, top := filepath.Join(base, "host"), filepath.Join(base, "node")
	if out, err := exec.Command("cp", "-a", f.source, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []string{".git", "vendor"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	m := &filesync.Mirror{Dir: dir, Deltas: &rsync.Transfer{Self: f.bin, Node: remotetest.Local{}, Top: top}, MinDeltaSize: 1}
	f.receive(t, m, top)
	if r, err := m.SyncAll(t.Context(), false); err != nil || r.Files < 1489 || r.Deltas != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	want, err := holds(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for name, what := range want {
		if strings.HasPrefix(what, "-") {
			files++
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("// one line more\n")
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	r, err := m.SyncAll(t.Context(), false)
	if err != nil || r.Files != files || r.Deltas < files-20 || len(r.Failed)+len(r.Kept) > 0 { // an empty file has no difference
		t.Errorf("%d files: %+v, %v", files, r, err)
	}
	if want, err = holds(dir, nil); err != nil {
		t.Fatal(err)
	}
	got, err := holds(top, nil)
	if err != nil || len(got) != len(want) {
		t.Errorf("%d paths, not %d: %v", len(got), len(want), err)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs", name)
		}
	}
}

// receive connects m to a receiver for a directory of this machine.
func (f *fixture) receive(t *testing.T, m *filesync.Mirror, top string) {
	t.Helper()
	cmd := exec.Command(f.bin, api.ReceiveArgs(top, false, false)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the receiver: %v", err)
		}
	})
	if m.Client, err = receiver.Connect(out, in, func() { in.Close() }); err != nil {
		t.Fatal(err)
	}
	if m.Record, err = filesync.OpenRecord(top+".record", filesync.Copy{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Record.Close() })
}
