package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestSyncTorture edits, renames and removes files at random and switches branches and
// stashes with git, while receivers are killed and the connection is cut or stalled. A
// reader on the node never sees a torn file.
func TestSyncTorture(t *testing.T) {
	f := setupAll(t)
	length := testenv.Lasts(t, 20*time.Second)
	dir, to := f.tree(t, "torture")
	r := &torture{t: t, dir: dir, rnd: rand.New(rand.NewPCG(testenv.Seed(t), 0))}
	r.repository()
	proxy, node := f.proxy(t)
	w := f.watchNode(t, node, dir, to)
	end := time.Now().Add(length)
	torn, reads := f.readTorn(to, end)
	harm := time.NewTicker(3 * time.Second)
	defer harm.Stop()
	steps, harms := 0, 0
	for ; time.Now().Before(end); steps++ {
		r.step()
		select {
		case <-harm.C:
			r.harm(f, proxy, harms%4)
			harms++
		default:
		}
		time.Sleep(time.Duration(r.rnd.IntN(20)) * time.Millisecond)
	}
	proxy.Resume()
	if text, ok := <-torn; ok {
		t.Errorf("torn: %s", text)
	}
	n := <-reads
	if n < 300 || steps < 100 || r.gits < 3 {
		t.Errorf("only %d steps, %d of them git's, and %d reads", steps, r.gits, n)
	}
	t.Logf("%d steps, %d of them git's, %d times harm, %d reads", steps, r.gits, harms, n)
	mine := func(path string) bool { return path != ".git" && !strings.HasPrefix(path, ".git/") }
	eventually(t, time.Minute, func() string { return strings.Join(f.differ(dir, to, mine), ", ") })
	if all, err := holds(f.onNode(to), nil); len(all) < 100 {
		t.Errorf("too few files to compare: %d, %v", len(all), err)
	}
	if !strings.Contains(w.said.String(), "until the node can be reached again") {
		t.Error("the connection was never lost")
	}
}

// torture changes a tree at random.
type torture struct {
	t    *testing.T
	dir  string
	rnd  *rand.Rand
	gits int // steps that git made
}

// repository makes the tree a git repository with two branches that differ below
// tracked.
func (r *torture) repository() {
	r.t.Helper()
	r.git("init", "-q", "-b", "main")
	for _, branch := range []string{"main", "other"} {
		if branch == "other" {
			r.git("checkout", "-q", "-b", branch)
		}
		for k := range 200 {
			if branch == "main" || k%3 == 0 {
				writeAsUser(r.t, filepath.Join(r.dir, fmt.Sprintf("tracked/%d/%s%d", k%7, branch[:k%2], k)), fmt.Sprint(branch, k))
			}
		}
		r.git("add", "tracked")
		r.git("commit", "-q", "-m", branch)
	}
}

func (r *torture) git(args ...string) {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "safe.directory=*", "-c", "user.name=a", "-c", "user.email=a@b.c"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// step makes one change. Each file except git's own contains its length, and then that
// many copies of one letter.
func (r *torture) step() {
	rnd := r.rnd
	places := []string{"a", "b", "a/x", "b/y", "a/x/deep"}
	name := filepath.Join(r.dir, places[rnd.IntN(len(places))], strconv.Itoa(rnd.IntN(40)))
	switch rnd.IntN(24) {
	case 0, 1:
		os.Remove(name)
	case 2, 3:
		os.Rename(name, filepath.Join(r.dir, places[rnd.IntN(len(places))], strconv.Itoa(rnd.IntN(40))))
	case 4, 5:
		os.Rename(filepath.Dir(name), filepath.Join(r.dir, places[rnd.IntN(len(places))]))
	case 6:
		if rnd.IntN(5) == 0 {
			os.RemoveAll(filepath.Dir(name))
		}
	case 7, 8:
		os.Chmod(name, []os.FileMode{0o644, 0o755, 0o604}[rnd.IntN(3)])
	case 9:
		r.gits++
		r.git("checkout", "-q", "-f", []string{"main", "other"}[rnd.IntN(2)])
	case 10:
		r.gits++
		os.WriteFile(filepath.Join(r.dir, "tracked/0/0"), []byte(strconv.Itoa(rnd.Int())), 0o644)
		os.RemoveAll(filepath.Join(r.dir, "tracked/1"))
		r.git("stash", "push", "-q")
		if rnd.IntN(2) == 0 {
			r.git("stash", "pop", "-q")
		}
	default:
		n := rnd.IntN(100_000)
		os.MkdirAll(filepath.Dir(name), 0o755)
		os.WriteFile(name+"~", []byte(strconv.Itoa(n)+" "+strings.Repeat(string('a'+rune(rnd.IntN(26))), n)), 0o644)
		os.Rename(name+"~", name) // so that it is whole here too
	}
}

// harm disturbs the copying.
func (r *torture) harm(f *fixture, proxy *testbed.Proxy, kind int) {
	switch kind {
	case 0:
		f.root(r.t, "pkill -KILL -x -u docker dapbridge; true")
	case 1, 2:
		proxy.Cut()
	case 3:
		proxy.Stall()
		time.AfterFunc(2*time.Second, proxy.Resume)
	}
}

// readTorn reads all files of the copy until end, and then reports a file that was not
// whole, if there was one, and the number of files read.
func (f *fixture) readTorn(to string, end time.Time) (torn <-chan string, reads <-chan int) {
	found, count := make(chan string, 1), make(chan int, 1)
	go func() {
		n := 0
		defer func() { count <- n; close(found) }()
		for time.Now().Before(end) {
			_ = filepath.WalkDir(f.onNode(to), func(path string, d fs.DirEntry, err error) error {
				switch {
				case err != nil || d.Name() == "f":
					return nil
				case d.Name() == "tracked": // git's own are not whole here at any time
					return fs.SkipDir
				case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".dapbridge-tmp-"):
					return nil
				}
				if text, err := os.ReadFile(path); err == nil {
					if n++; !whole(string(text)) {
						select {
						case found <- fmt.Sprintf("%s: %.40q…", path, text):
						default:
						}
					}
				}
				return nil
			})
		}
	}()
	return found, count
}

// whole reports whether text is a complete file of the torture test.
func whole(text string) bool {
	length, rest, ok := strings.Cut(text, " ")
	n, err := strconv.Atoi(length)
	return ok && err == nil && len(rest) == n && (n == 0 || strings.Count(rest, rest[:1]) == n)
}

// TestSyncCut cuts the connection during a first copy: the next run completes it, sends
// only what is missing, and leaves no temporary files.
func TestSyncCut(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "cut")
	const files = 200
	for k := range files {
		name := filepath.Join(dir, fmt.Sprint("d", k%10), fmt.Sprint(k))
		writeAsUser(t, name, strings.Repeat(strconv.Itoa(k), 30_000))
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	proxy, node := f.proxy(t)
	sync := func() (int, string) {
		cmd := f.command(short(t), userUID, slices.Concat([]string{"sync", dir, "--to", to}, node)...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(f.onNode(to)); err != nil {
			eventually(t, 30*time.Second, unless("nothing is copied", func() bool { _, err := os.Stat(f.onNode(to + "/d3")); return err == nil }))
			proxy.Cut()
			proxy.Rate(0)
		}
		cmd.Wait()
		return cmd.ProcessState.ExitCode(), said.String()
	}
	proxy.Rate(20e6) // or it is done before it can be cut
	if status, said := sync(); status != 3 {
		t.Fatalf("after the cut: exit status %d: %s", status, said)
	}
	status, said := sync()
	if status != 0 || strings.Contains(said, fmt.Sprintf("%d files sent", files+1)) || strings.Contains(said, " 0 files sent") {
		t.Errorf("the next run: exit status %d: %s", status, said)
	}
	if paths := f.differ(dir, to, nil); len(paths) > 0 { // a temporary file would be one
		t.Errorf("these paths differ: %q", paths)
	}
}
