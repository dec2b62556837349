package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// synced is the output of `dapbridge sync -o json`.
type synced struct {
	To      string `json:"to"`
	Files   int    `json:"files"`
	Removed int    `json:"removed"`
	Kept    []struct{ Path, At string }
	Failed  []struct{ Path, Why string }
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Changes []struct{ What, Path string }
}

// sync runs dapbridge sync, checks the exit status, and returns its report and its log.
func (f *fixture) sync(t *testing.T, status int, args ...string) (r synced, said string) {
	t.Helper()
	cmd := f.command(t.Context(), userUID, slices.Concat([]string{"sync", "-o", "json"}, f.nodeArgs(), args)...)
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
	return r, stderr.String()
}

// onNode returns the path on this machine of a path on the node.
func (f *fixture) onNode(path string) string { return filepath.Join(f.node.RootFS(), path) }

// holds describes a tree: kind, mode, time, and content or target of each path that
// wanted accepts, or of all if it is nil. It fails if the tree changes meanwhile.
func holds(dir string, wanted func(path string) bool) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, _ := filepath.Rel(dir, path)
		if below == "." || wanted != nil && !wanted(below) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%v ", info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += target
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += strconv.FormatInt(info.ModTime().UnixNano(), 10) + " " + string(text)
		}
		all[below] = what
		return nil
	})
	return all, err
}

// differ returns paths at which the host's tree and the node's tree differ.
func (f *fixture) differ(dir, to string, wanted func(path string) bool) []string {
	a, err := holds(dir, wanted)
	b, errThere := holds(f.onNode(to), nil)
	if err := errors.Join(err, errThere); err != nil {
		return []string{err.Error()}
	}
	var paths []string
	for p := range a {
		if a[p] != b[p] {
			paths = append(paths, p)
		}
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths[:min(len(paths), 10)]
}

// copiedBy returns the paths of a repository that are copied: those that git does not
// ignore, and their directories.
func copiedBy(t *testing.T, dir string) func(string) bool {
	t.Helper()
	cmd := exec.Command("git", "-c", "safe.directory=*", "-C", dir, "status", "--ignored=matching", "--porcelain", "-z", "-unormal")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ignored []string
	for entry := range strings.SplitSeq(string(out), "\x00") {
		if path, ok := strings.CutPrefix(entry, "!! "); ok {
			ignored = append(ignored, strings.TrimSuffix(path, "/"))
		}
	}
	return func(path string) bool {
		if path == ".git" || strings.HasPrefix(path, ".git/") {
			return false
		}
		return !slices.ContainsFunc(ignored, func(i string) bool { return path == i || strings.HasPrefix(path, i+"/") })
	}
}

// writeAsUser writes a file that belongs to the user.
func writeAsUser(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for at := name; filepath.Base(at) != "src" && filepath.Base(at) != "/"; at = filepath.Dir(at) {
		if err := os.Lchown(at, userUID, userUID); err != nil {
			t.Fatal(err)
		}
	}
}

// tree creates a directory of the user, and returns it with the path of its copy on the
// node.
func (f *fixture) tree(t testing.TB, name string) (dir, to string) {
	t.Helper()
	dir, to = filepath.Join(f.dir, "src", name), "/home/docker/"+name
	writeAsUser(t, filepath.Join(dir, "sub", "f"), "first")
	t.Cleanup(func() { os.RemoveAll(dir); os.RemoveAll(f.onNode(to)) })
	return dir, to
}

// TestSync mirrors containerd's source to the directory in which its binary was built.
func TestSync(t *testing.T) {
	f := setup(t)
	f.use(t, testbed.Make)
	wanted := copiedBy(t, f.source)
	// It was built in root's cache directory, which the user cannot enter on the node.
	if _, said := f.sync(t, 2); !strings.Contains(said, "is in a hidden directory") || !strings.Contains(said, "--to") {
		t.Error(said)
	}
	if _, said := f.sync(t, 2, "--to", "/root/src/containerd"); !strings.Contains(said, "may not enter") {
		t.Error(said)
	}
	rule := []string{"--map", f.source + "=/go/src/github.com/containerd/containerd"}
	plan, _ := f.sync(t, 0, append(rule, "--dry-run")...)
	there := f.onNode(plan.To)
	if _, err := os.Lstat(there); err == nil || len(plan.Changes) < 1489 {
		t.Fatalf("%d changes are planned, and %s: %v", len(plan.Changes), plan.To, err)
	}
	t.Cleanup(func() { os.RemoveAll(f.onNode("/go")) })
	began := time.Now()
	if r, _ := f.sync(t, 0, rule...); r.To != plan.To || r.Files < 1489 || len(r.Kept)+len(r.Failed) != 0 {
		t.Fatalf("%+v", r)
	} else {
		t.Logf("%d files, %d bytes in %.2f s, %v in all", r.Files, r.Bytes, r.Seconds, time.Since(began))
	}
	if paths := f.differ(f.source, plan.To, wanted); len(paths) > 0 {
		t.Fatalf("these paths differ: %q", paths)
	}
	if info, err := os.Stat(filepath.Join(there, "go.mod")); err != nil || info.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Errorf("it belongs to root: %v", err)
	}
	if r, _ := f.sync(t, 0, rule...); r.Files+r.Removed != 0 {
		t.Errorf("unchanged files were sent again: %+v", r)
	}
	f.sync(t, 0, append(rule, "--verify")...)

	// Files are edited, removed and added on the node.
	edited, added := filepath.Join(there, "go.mod"), filepath.Join(there, "core", "added")
	for name, text := range map[string]string{edited: "edited there", added: "theirs"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(filepath.Join(there, "Makefile"))
	if r, _ := f.sync(t, 1, append(rule, "--verify")...); r.To == "" {
		t.Error("no message about it")
	}
	r, _ := f.sync(t, 0, rule...)
	if len(r.Kept) != 1 || r.Kept[0].Path != "go.mod" || r.Files != 2 {
		t.Fatalf("%+v", r)
	}
	if text, err := os.ReadFile(f.onNode(r.Kept[0].At)); string(text) != "edited there" {
		t.Errorf("kept is %q: %v", text, err)
	}
	if text, _ := os.ReadFile(added); string(text) != "theirs" {
		t.Error("a file that only the node has is gone")
	}
	os.Remove(added)
	if paths := f.differ(f.source, plan.To, wanted); len(paths) > 0 {
		t.Errorf("these paths differ: %q", paths)
	}
}

// TestSyncRefuses does not write to a directory that belongs to somebody else.
func TestSyncRefuses(t *testing.T) {
	f := setup(t)
	dir, to := f.tree(t, "refused")
	f.root(t, "mkdir -p /srv/full /srv/roots /home/docker/full && echo x >/home/docker/full/theirs && chown -R docker: /home/docker/full && ln -sfn full /home/docker/link && ln -sfn /etc /home/docker/etc")
	t.Cleanup(func() { f.root(t, "rm -rf /srv/full /srv/roots /home/docker/full /home/docker/link /home/docker/etc") })
	for to, why := range map[string]string{
		"/etc/x": "system directory", "/usr/src/x": "system directory", "/run/x": "system directory", "/proc/1/cwd/x": "system directory",
		"relative": "absolute path", "/": "absolute path", "/home/docker/../../etc/x": "system directory",
		"/home/docker/full": "did not put there, such as theirs", "/home/docker/link": "symbolic link to full",
		"/home/docker/etc/dapbridge": "symbolic link to /etc", "/srv/roots": "another user",
	} {
		_, said := f.sync(t, 2, dir, "--to", to)
		if !strings.Contains(said, why) || !strings.Contains(said, "--to") {
			t.Errorf("%s: %s", to, said)
		}
	}
	if _, err := os.Lstat(f.onNode("/etc/dapbridge")); err == nil {
		t.Error("/etc was written to")
	}
	if r, _ := f.sync(t, 0, dir, "--to", "/home/docker/full", "--force"); r.Files != 1 {
		t.Errorf("%+v", r)
	}
	if text, _ := os.ReadFile(f.onNode("/home/docker/full/theirs")); string(text) != "x\n" {
		t.Error("a file that was there is gone")
	}
	if _, said := f.sync(t, 2, dir, "--force"); !strings.Contains(said, "--to") {
		t.Error(said)
	}
	if _, said := f.sync(t, 2, dir); !strings.Contains(said, "not known where") {
		t.Error(said)
	}
	// A removal on the host removes the file on the node, unless it is read-only.
	f.sync(t, 0, dir, "--to", to)
	os.RemoveAll(filepath.Join(dir, "sub"))
	writeAsUser(t, filepath.Join(dir, "other"), "x")
	if r, _ := f.sync(t, 0, dir, "--to", to); r.Removed != 2 || r.Files != 1 {
		t.Errorf("%+v", r)
	}
	f.root(t, "mount -t tmpfs -o size=64k tmpfs "+to)
	t.Cleanup(func() { f.root(t, "umount "+to) })
	writeAsUser(t, filepath.Join(dir, "a", "large"), strings.Repeat("x", 1<<20))
	f.root(t, "chown docker: "+to)
	r, said := f.sync(t, 3, dir, "--to", to)
	if r.Files != 1 || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Why, "no space") || !strings.Contains(said, "could not be copied") {
		t.Errorf("a full disk: %+v, %s", r, said)
	}
}

// watcher is a running `dapbridge sync --watch`.
type watcher struct {
	cmd  *exec.Cmd
	said *testenv.Buffer
}

// watch starts one and waits for the first full scan.
func (f *fixture) watch(t testing.TB, dir, to string) *watcher {
	t.Helper()
	return f.watchNode(t, f.nodeArgs(), dir, to)
}

// watchNode is watch with the caller's own --node.
func (f *fixture) watchNode(t testing.TB, node []string, dir, to string) *watcher {
	t.Helper()
	w := &watcher{cmd: f.command(context.Background(), userUID, slices.Concat([]string{"sync", dir, "--to", to, "--watch"}, node)...), said: &testenv.Buffer{}}
	w.cmd.Stdout, w.cmd.Stderr = w.said, w.said
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			w.end(t)
		}
		if t.Failed() {
			t.Logf("dapbridge sync --watch said:\n%s", w.said)
		}
	})
	eventually(t, 20*time.Second, unless("it is not watching", func() bool { return strings.Contains(w.said.String(), "watching for changes") }))
	return w
}

// end ends it as Ctrl-C does.
func (w *watcher) end(t testing.TB) {
	t.Helper()
	w.cmd.Process.Signal(syscall.SIGINT)
	defer time.AfterFunc(time.Minute, func() { w.cmd.Process.Kill() }).Stop()
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("dapbridge sync --watch, ended by SIGINT: %v", err)
	}
}

// unless makes a condition a function for eventually, which returns what until the
// condition holds.
func unless(what string, holds func() bool) func() string {
	return func() string {
		if holds() {
			return ""
		}
		return what
	}
}

// waitEqual waits until both trees are equal, or reports where they differ.
func (f *fixture) waitEqual(t testing.TB, dir, to, after string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		paths := f.differ(dir, to, nil)
		if len(paths) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s these paths differ: %q", after, paths)
		}
	}
}

// fileChange is one way to change a directory.
type fileChange struct {
	what string
	do   func() error
}

// changes returns changes of each kind, to be made in this order.
func changes(at func(name string) string) []fileChange {
	return []fileChange{
		{"writing in place", func() error { return os.WriteFile(at("sub/f"), []byte("in place"), 0o644) }},
		{"a rewrite of the same size", func() error {
			os.WriteFile(at("sub/f"), []byte("In place"), 0o644)
			return os.WriteFile(at("sub/f"), []byte("iN place"), 0o644)
		}},
		{"write and rename", func() error {
			os.WriteFile(at("sub/f.new"), []byte("renamed"), 0o604)
			return os.Rename(at("sub/f.new"), at("sub/f"))
		}},
		{"JetBrains' save", func() error {
			os.WriteFile(at("sub/f___jb_tmp___"), []byte("by an IDE"), 0o644)
			os.Rename(at("sub/f"), at("sub/f___jb_old___"))
			os.Rename(at("sub/f___jb_tmp___"), at("sub/f"))
			return os.Remove(at("sub/f___jb_old___"))
		}},
		{"chmod", func() error { return os.Chmod(at("sub/f"), 0o755) }},
		{"chmod of a directory", func() error { return os.Chmod(at("sub"), 0o700) }},
		{"an empty file", func() error { return os.WriteFile(at("empty"), nil, 0o644) }},
		{"a symbolic link", func() error { return os.Symlink("sub/f", at("l")) }},
		{"another target", func() error { os.Remove(at("l")); return os.Symlink("nowhere", at("l")) }},
		{"a hard link", func() error { return os.Link(at("sub/f"), at("hard")) }},
		{"deep directories at once", func() error {
			os.MkdirAll(at("a/b/c/d"), 0o755)
			return os.WriteFile(at("a/b/c/d/f"), []byte("deep"), 0o644)
		}},
		{"a directory renamed", func() error { return os.Rename(at("a"), at("z")) }},
		{"a change in it", func() error { return os.WriteFile(at("z/b/c/d/f"), []byte("deeper"), 0o644) }},
		{"a file for a directory", func() error { os.RemoveAll(at("z")); return os.WriteFile(at("z"), []byte("file"), 0o644) }},
		{"a directory for a file", func() error {
			os.Remove(at("z"))
			os.Mkdir(at("z"), 0o755)
			return os.WriteFile(at("z/f"), nil, 0o644)
		}},
		{"a link for a directory", func() error { os.RemoveAll(at("z")); return os.Symlink("sub", at("z")) }},
		{"removal and again", func() error { os.Remove(at("sub/f")); return os.WriteFile(at("sub/f"), []byte("again"), 0o644) }},
		{"removal", func() error { os.Remove(at("hard")); return os.RemoveAll(at("d0")) }},
		{"2,000 files", func() error {
			for i := range 2000 {
				if err := os.MkdirAll(at(fmt.Sprintf("many/%d", i%20)), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(at(fmt.Sprintf("many/%d/%d", i%20, i)), []byte(strconv.Itoa(i)), 0o644); err != nil {
					return err
				}
			}
			return nil
		}},
		{"removal of them", func() error { return os.RemoveAll(at("many")) }},
		{"8 MB", func() error { return os.WriteFile(at("large"), bytes.Repeat([]byte("12345678"), 1<<20), 0o644) }},
	}
}

// TestSyncWatch follows changes of each kind.
func TestSyncWatch(t *testing.T) {
	f := setup(t)
	dir, to := f.tree(t, "watched")
	at := func(name string) string { return filepath.Join(dir, name) }
	for i := range 50 {
		writeAsUser(t, at(fmt.Sprintf("d%d/f%d", i%5, i)), fmt.Sprint(i))
	}
	w := f.watch(t, dir, to)
	f.waitEqual(t, dir, to, "the start")
	for _, s := range changes(at) {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		f.waitEqual(t, dir, to, s.what)
	}
	// A file is ignored, and then no longer.
	writeAsUser(t, at(".gitignore"), "*.o\n")
	writeAsUser(t, at("x.o"), "object")
	writeAsUser(t, at("last"), "x")
	eventually(t, 10*time.Second, unless("the last file is not copied", func() bool { _, err := os.Stat(f.onNode(to + "/last")); return err == nil }))
	if _, err := os.Stat(f.onNode(to + "/x.o")); err == nil {
		t.Error("an ignored file was copied")
	}
	os.Remove(at(".gitignore"))
	f.waitEqual(t, dir, to, "removing the rules")
	// A file that was edited on the node.
	if err := os.WriteFile(f.onNode(to+"/last"), []byte("edited there"), 0o644); err != nil {
		t.Fatal(err)
	}
	writeAsUser(t, at("last"), "and here")
	f.waitEqual(t, dir, to, "an edit of both")
	eventually(t, 5*time.Second, unless("the edited file is not reported", func() bool { return strings.Contains(w.said.String(), "last was edited on the node") }))
	w.end(t)
	f.sync(t, 0, dir, "--to", to, "--verify")
}

// TestSyncKilled kills either end during a copy: the next run makes the trees equal, and
// no temporary file remains.
func TestSyncKilled(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "killed")
	const files = 600 // or it is done before it can be killed
	for i := range files {
		name := filepath.Join(dir, fmt.Sprint("d", i%10), fmt.Sprint(i))
		writeAsUser(t, name, strings.Repeat(strconv.Itoa(i), 60_000))
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	const receiver = "pkill -KILL -x -u docker dapbridge"
	for i, kill := range []func(*exec.Cmd){
		func(cmd *exec.Cmd) { cmd.Process.Kill() },
		func(*exec.Cmd) { f.root(t, receiver) },
	} {
		os.RemoveAll(f.onNode(to))
		cmd := f.command(short(t), userUID, slices.Concat([]string{"sync", dir, "--to", to}, f.nodeArgs())...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, unless("nothing is copied", func() bool { _, err := os.Stat(f.onNode(to + "/d1")); return err == nil }))
		kill(cmd)
		if err := cmd.Wait(); err == nil {
			t.Fatalf("%d: it ended before it was killed", i)
		} else if i == 1 && (cmd.ProcessState.ExitCode() != 3 || !strings.Contains(said.String(), "has exited")) {
			t.Errorf("%v: %s", err, said.String())
		}
		r, _ := f.sync(t, 0, dir, "--to", to)
		if r.Files == 0 || r.Files == files+1 || len(r.Kept) != 0 {
			t.Errorf("%d: %+v", i, r)
		}
		f.waitEqual(t, dir, to, "a kill")
	}
	// Ctrl-C leaves no temporary files, even before the next run.
	os.RemoveAll(f.onNode(to))
	cmd := f.command(short(t), userUID, slices.Concat([]string{"sync", dir, "--to", to}, f.nodeArgs())...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, unless("nothing is copied", func() bool { _, err := os.Stat(f.onNode(to + "/d1")); return err == nil }))
	cmd.Process.Signal(syscall.SIGINT)
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("ended by SIGINT: %v", cmd.ProcessState)
	}
	eventually(t, 5*time.Second, unless("the receiver is still running", func() bool {
		_, err := f.node.Exec(t.Context(), "pgrep", "-x", "-u", "docker", "dapbridge")
		return err != nil
	}))
	all, err := holds(f.onNode(to), func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".dapbridge-tmp-") })
	if err != nil || len(all) > 0 {
		t.Errorf("temporary files: %d, %v", len(all), err)
	}
	f.sync(t, 0, dir, "--to", to)
	// A receiver that is killed while idle is started again.
	w := f.watch(t, dir, to)
	f.root(t, receiver)
	writeAsUser(t, filepath.Join(dir, "sub", "f"), "after the kill")
	f.waitEqual(t, dir, to, "the receiver's death")
	if !strings.Contains(w.said.String(), "until the node can be reached again") {
		t.Error("no message about it")
	}
}
