package filesync_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// replica is a copy of a tree that learns of changes only from a watcher.
type replica struct {
	dir       string
	w         *filesync.Watcher
	state     map[string]string // see describe, by path
	fullScans []string          // the reasons given
	batches   int
}

// startReplica returns a replica that is equal to the tree.
func startReplica(t testing.TB, cfg filesync.WatchConfig) *replica {
	t.Helper()
	w, err := filesync.Watch(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	r := &replica{dir: cfg.Dir, w: w, state: map[string]string{}}
	r.settle(t)
	if len(r.fullScans) != 1 {
		t.Fatalf("full scans at the start: %q, want one", r.fullScans)
	}
	r.fullScans, r.batches = nil, 0
	return r
}

// settle takes batches until the replica is equal to the tree and no more batch comes.
// It fails the test if that takes 10 seconds.
func (r *replica) settle(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for r.takeBatch(t, 60*time.Millisecond) || !maps.Equal(r.state, describeTree(t, r.dir)) {
		if time.Now().Before(deadline) {
			continue
		}
		want := describeTree(t, r.dir)
		for _, p := range slices.Sorted(maps.Keys(want)) {
			if r.state[p] != want[p] {
				t.Logf("%s: got %.40q, want %.40q", p, r.state[p], want[p])
			}
		}
		for p := range r.state {
			if _, ok := want[p]; !ok {
				t.Logf("%s: it no longer exists", p)
			}
		}
		t.Fatal("the watcher missed changes")
	}
}

// takeBatch applies the next batch, and reports whether one came in time.
func (r *replica) takeBatch(t testing.TB, timeout time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	b, err := r.w.Next(ctx)
	if err != nil {
		return false
	}
	r.batches++
	if b.FullScan != "" {
		r.fullScans = append(r.fullScans, b.FullScan)
		r.state = describeTree(t, r.dir)
		return true
	}
	for _, p := range b.Paths {
		maps.DeleteFunc(r.state, func(at, _ string) bool {
			return at == p || strings.HasPrefix(at, p+"/") && describe(filepath.Join(r.dir, at)) == ""
		})
		if b.Ignored[p] {
			maps.DeleteFunc(r.state, func(at, _ string) bool { return at == p || strings.HasPrefix(at, p+"/") })
		} else if text := describe(filepath.Join(r.dir, p)); text != "" {
			r.state[p] = text
		}
	}
	return true
}

// describeTree describes what is copied of a tree, by path.
func describeTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	m, _, err := filesync.Scan(t.Context(), dir)
	if err != nil {
		return all
	}
	for _, e := range m {
		if text := describe(filepath.Join(dir, e.Path)); text != "" {
			all[e.Path] = text
		}
	}
	return all
}

// describe returns the kind, mode, and content or target of a file, "" if there is none.
func describe(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	switch {
	case info.IsDir():
		return fmt.Sprint("dir ", info.Mode())
	case info.Mode().IsRegular():
		text, _ := os.ReadFile(path)
		return fmt.Sprint("file ", info.Mode(), string(text))
	}
	target, _ := os.Readlink(path)
	return "link " + target
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// TestWatch changes a tree as editors, people and git do.
func TestWatch(t *testing.T) {
	sh := func(script string) func(testing.TB, string) {
		return func(t testing.TB, dir string) { shell(t, dir, script) }
	}
	for _, tt := range []struct {
		name string
		do   func(t testing.TB, dir string)
		full bool // whether a full scan is expected
	}{
		{name: "write in place", do: sh("echo changed >a/b/f")},
		{name: "append", do: sh("echo more >>a/b/f")},
		{name: "same size", do: sh("printf 5678 >a/b/four")},
		{name: "write and rename", do: sh("echo new >a/b/.x.tmp && mv a/b/.x.tmp a/b/f")},
		{name: "vim", do: sh("touch a/b/4913 && rm a/b/4913 && mv a/b/f a/b/f~ && echo new >a/b/f && chmod 644 a/b/f && rm a/b/f~ && touch a/b/.f.swp")},
		{name: "JetBrains", do: sh("echo new >a/b/f___jb_tmp___ && mv a/b/f a/b/f___jb_old___ && mv a/b/f___jb_tmp___ a/b/f && rm a/b/f___jb_old___")},
		{name: "VS Code, atomic", do: sh("echo new >a/b/f.vsctmp && mv a/b/f.vsctmp a/b/f")},
		{name: "new file", do: sh("echo x >a/new")},
		{name: "remove", do: sh("rm a/b/f")},
		{name: "remove and create", do: sh("rm a/b/f && echo again >a/b/f")},
		{name: "rename a file", do: sh("mv a/b/f c/g")},
		{name: "chmod", do: sh("chmod 755 a/b/f && chmod 700 a")},
		{name: "symbolic links", do: sh("ln -s f a/b/l && ln -sfn nowhere link && ln -s .. a/b/up")},
		{name: "hard link", do: sh("ln a/b/f c/hard")},
		{name: "new directories", do: sh("mkdir -p n/m/o && for i in 1 2 3 4 5 6 7 8 9; do echo $i >n/$i; echo $i >n/m/o/$i; done")},
		{name: "copy a tree", do: sh("cp -r a copy && cp -r a copy/again")},
		{name: "rename a directory", do: sh("mv a z && echo after >z/b/f")},
		{name: "rename a directory into a new one", do: sh("mkdir n && mv a n/a && echo after >n/a/b/f && mkdir n/a/b/x && echo y >n/a/b/x/y")},
		{name: "swap directories", do: sh("mv a t && mv c a && mv t c && echo after >a/k && echo after >c/b/f")},
		{name: "rename there and back", do: sh("mv a t && mv t a && echo after >a/b/f && mv a t && echo after >t/b/f2")},
		{name: "remove a directory", do: sh("rm -r a")},
		{name: "remove and create a directory", do: sh("rm -r a && mkdir a && echo x >a/x && rm -r a && mkdir -p a/b && echo x >a/b/x")},
		{name: "directory in place of a file", do: sh("rm a/b/f && mkdir a/b/f && echo x >a/b/f/x && rm -r c && echo c >c")},
		{name: "move out and in", do: sh("mv a ../outside && mv ../outside back && echo x >back/b/x")},
		{name: "what is ignored", do: sh("mkdir -p build/x && echo x >build/x/y && echo x >a/x.log && mkdir .git && touch .git/index")},
		{name: "thousands", do: sh("mkdir -p t && cd t && for d in 0 1 2 3 4 5 6 7 8 9; do mkdir -p $d/x && seq 1 300 | sed s:^:$d/x/: | xargs touch; done")},
		{name: "rules", do: sh("echo '*.c' >>.gitignore && echo x >a/x.log && echo 'int x;' >a/x.c && mkdir -p build && echo x >build/y"), full: true},
		{name: "rules that bring back", do: sh("mkdir -p build/z && echo x >build/z/y && rm .gitignore && sleep .1 && echo changed >build/z/y"), full: true},
		{name: "git checkout", do: func(t testing.TB, dir string) {
			shell(t, dir, `git init -q && git add -A && git commit -qm 1 && git checkout -qb other &&
				git mv a moved && git rm -q c/k && echo other >moved/b/f && mkdir d && echo d >d/d && git add -A && git commit -qm 2 &&
				git checkout -q - && echo dirty >a/b/f && git stash -q && git checkout -q other && git checkout -q - && git stash pop -q`)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "tree")
			for name, text := range map[string]string{".gitignore": "*.log\n/build/\n", "a/b/f": "f\n", "a/b/four": "1234", "a/b/c/d/e": "e\n", "c/k": "k\n"} {
				testenv.WriteFile(t, filepath.Join(dir, name), text)
			}
			if err := os.Symlink("a/b/f", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			r := startReplica(t, filesync.WatchConfig{Dir: dir})
			tt.do(t, dir)
			r.settle(t)
			// On a busy machine a directory may move while it is read.
			scans := slices.DeleteFunc(r.fullScans, func(reason string) bool { return strings.HasPrefix(reason, "directories were moved") })
			if (len(scans) > 0) != tt.full {
				t.Errorf("full scans: %q, expected: %v", scans, tt.full)
			}
			// Everything that exists now is watched.
			for p := range describeTree(t, dir) {
				if isDir(filepath.Join(dir, p)) {
					testenv.WriteFile(t, filepath.Join(dir, p, "last"), "x")
				}
			}
			r.settle(t)
		})
	}
}

func shell(t testing.TB, dir, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir+"/..", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.c", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.c")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// TestIgnoredChangesCauseNoBatch puts a change that is copied after those that are not:
// its batch holds nothing else.
func TestIgnoredChangesCauseNoBatch(t *testing.T) {
	dir := t.TempDir()
	testenv.WriteFile(t, filepath.Join(dir, ".gitignore"), "*.log\n/build/\n")
	testenv.WriteFile(t, filepath.Join(dir, "build/x"), "")
	testenv.WriteFile(t, filepath.Join(dir, ".git/HEAD"), "")
	r := startReplica(t, filesync.WatchConfig{Dir: dir})
	shell(t, dir, "echo x >build/x && echo y >a.log && mkdir build/y && echo z >.git/HEAD && touch .a.swp a~ && rm a~ && echo x >copied")
	for range 2 { // the file may be created in one batch and written in the next
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		b, err := r.w.Next(ctx)
		cancel()
		if err != nil {
			break
		}
		r.batches++
		if !slices.Equal(b.Paths, []string{"copied"}) {
			t.Errorf("a batch of %q, want only copied", b.Paths)
		}
	}
	if r.batches == 0 {
		t.Error("no batch")
	}
}

// TestTopVanishes checks that no full scan is requested while the tree is missing, and
// one is when it is back.
func TestTopVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "above", "tree")
	testenv.WriteFile(t, filepath.Join(dir, "a/f"), "1")
	r := startReplica(t, filesync.WatchConfig{Dir: dir, Interval: 20 * time.Millisecond})
	for _, tt := range []struct{ name, do, undo string }{
		{"renamed", "mv tree gone", "mv gone tree"},
		{"replaced", "mv tree gone && mkdir -p tree/b && echo x >tree/b/g", "true"},
		{"renamed above", "cd .. && mv above gone", "cd .. && mv gone above"},
		{"replaced above", "cd .. && mv above gone && mkdir -p above/tree/c && echo x >above/tree/c/g", "true"},
		{"removed", "cp -r tree copy && rm -r tree", "mv copy tree"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.fullScans = nil
			above := filepath.Dir(dir)
			shell(t, above, tt.do)
			for r.takeBatch(t, 100*time.Millisecond) { // of the removed content
			}
			if !strings.HasPrefix(tt.name, "replaced") && len(r.fullScans) > 0 {
				t.Errorf("full scans of a missing tree: %q", r.fullScans)
			}
			if tt.name == "renamed above" {
				above = filepath.Join(filepath.Dir(above), "gone")
			}
			shell(t, above, tt.undo)
			testenv.WriteFile(t, filepath.Join(dir, "later"), tt.name)
			for deadline := time.Now().Add(5 * time.Second); len(r.fullScans) == 0 && time.Now().Before(deadline); {
				r.takeBatch(t, 100*time.Millisecond)
			}
			if len(r.fullScans) == 0 {
				t.Fatal("no full scan after the tree came back")
			}
			shell(t, dir, "mkdir -p n && echo x >n/x && echo y >later")
			r.settle(t)
		})
	}
}

// TestWatchRandomly makes random changes.
func TestWatchRandomly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	testenv.WriteFile(t, filepath.Join(dir, "a/f"), "1")
	r := startReplica(t, filesync.WatchConfig{Dir: dir})
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 2))
	some := func() string { // a path that may exist
		var names []string
		for range 1 + rnd.IntN(3) {
			names = append(names, string(rune('a'+rnd.IntN(4))))
		}
		return filepath.Join(dir, filepath.Join(names...))
	}
	for i := range testenv.Rounds(t, 1000) {
		p := some()
		switch rnd.IntN(8) {
		case 0, 1:
			_ = os.MkdirAll(p, 0o755)
		case 2, 3:
			_ = os.WriteFile(p, fmt.Append(nil, i), 0o644)
		case 4, 5:
			_ = os.Rename(p, some())
		case 6:
			_ = os.RemoveAll(p)
		case 7:
			_ = os.Chmod(p, 0o700|os.FileMode(rnd.IntN(0o100)))
		}
		if i%300 == 0 {
			r.settle(t)
		}
	}
	r.settle(t)
	t.Logf("%d batches, full scans: %q", r.batches, r.fullScans)
}
