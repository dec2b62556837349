package filesync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// copied is a tree whose copy follows it.
type copied struct {
	m        *filesync.Mirror
	w        *filesync.Watcher
	dir, top string
	log      bytes.Buffer // read it when the watcher is closed
	failed   []filesync.PathProblem
}

// follow has a copy follow a tree that holds files, each with its path for content,
// and rules for the top.
func follow(t *testing.T, every time.Duration, rules string, files ...string) *copied {
	t.Helper()
	c := &copied{}
	c.m, c.dir, c.top = mirror(t)
	if rules != "" {
		aged(t, filepath.Join(c.dir, ".gitignore"), rules)
	}
	for _, f := range files {
		aged(t, filepath.Join(c.dir, f), f)
	}
	var err error
	c.w, err = filesync.Watch(filesync.WatchConfig{Dir: c.dir, Interval: every, Log: slog.New(slog.NewTextHandler(&c.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.w.Close() })
	c.copy(t, 50*time.Millisecond)
	return c
}

// copy copies what the watcher tells until it has been silent for so long, and reports
// whether it named anything.
func (c *copied) copy(t *testing.T, silent time.Duration) (told bool) {
	t.Helper()
	for c.failed = nil; ; told = true {
		ctx, cancel := context.WithTimeout(t.Context(), silent)
		b, err := c.w.Next(ctx)
		cancel()
		if err != nil {
			return told
		}
		var r filesync.Report
		if b.FullScan != "" {
			r, err = c.m.SyncAll(t.Context(), false)
		} else {
			r, err = c.m.SyncBatch(t.Context(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.failed = append(c.failed, r.Failed...)
	}
}

// becomes waits until the copy is like the tree.
func (c *copied) becomes(t *testing.T, after string) {
	t.Helper()
	var differing []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		c.copy(t, 30*time.Millisecond)
		if differing = differ(c.dir, c.top); len(differing) == 0 {
			return
		}
	}
	t.Errorf("after %s these differ: %q", after, differing)
}

// TestFollowSwap puts another directory in the place of one between two looks.
func TestFollowSwap(t *testing.T) {
	for what, script := range map[string]string{
		"a swap":            "mv vendor old && mv new vendor",
		"an empty one":      "mv vendor ../elsewhere && mkdir vendor",
		"a deeper swap":     "mv vendor/sub old && mv new vendor/sub",
		"a swap and a name": "mv vendor old && mv new vendor && mv old new",
	} {
		t.Run(what, func(t *testing.T) {
			c := follow(t, 0, "", "vendor/old.go", "vendor/sub/old.go", "new/new.go")
			shell(t, c.dir, script)
			c.becomes(t, script)
		})
	}
}

// TestFollowAtRandom changes a small tree, so that one path is many things.
func TestFollowAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	c := follow(t, 0, "")
	path := func() string {
		at := c.dir
		for range 1 + r.IntN(4) {
			at = filepath.Join(at, string(rune('a'+r.IntN(3))))
		}
		return at
	}
	for round := range testenv.Rounds(t, 40) {
		var did strings.Builder
		for range 1 + r.IntN(8) {
			p, q := path(), path()
			var err error
			switch n := r.IntN(9); n {
			case 0, 1:
				fmt.Fprintf(&did, "mkdir -p %s", p)
				err = os.MkdirAll(p, 0o755)
			case 2, 3, 4:
				fmt.Fprintf(&did, "write %s", p)
				_ = os.MkdirAll(filepath.Dir(p), 0o755)
				err = os.WriteFile(p, fmt.Append(nil, r.IntN(1000)), 0o644)
			case 5:
				fmt.Fprintf(&did, "rm -r %s", p)
				err = os.RemoveAll(p)
			case 6, 7:
				fmt.Fprintf(&did, "mv %s %s", p, q)
				err = os.Rename(p, q)
			case 8:
				fmt.Fprintf(&did, "ln -s b %s", p)
				err = os.Symlink("b", p)
			}
			fmt.Fprintf(&did, " (%v)\n", err)
			time.Sleep(time.Duration(r.IntN(2)*r.IntN(3000)) * time.Microsecond)
		}
		if c.becomes(t, did.String()); t.Failed() {
			t.Fatalf("round %d, failed: %v", round, c.failed)
		}
	}
}

// TestFollowRules has what is copied become what is not, under the same name.
func TestFollowRules(t *testing.T) {
	gone := func(c *copied, name string) func() bool {
		return func() bool { _, err := os.Lstat(filepath.Join(c.top, name)); return errors.Is(err, fs.ErrNotExist) }
	}
	for what, tt := range map[string]struct{ rules, file, script, gone string }{
		"an ignored directory": {"out/\n", "out", "rm out && mkdir out && echo x >out/x", "out"},
		"an ignored file":      {"*\n!*/\n!*.go\n!.gitignore\n", "key/a.go", "rm -r key && echo secret >key", "key"},
		"info/exclude":         {"", "secret", "mkdir -p .git/info && echo secret >.git/info/exclude", "secret"},
	} {
		t.Run(what, func(t *testing.T) {
			c := follow(t, 100*time.Millisecond, tt.rules, tt.file, "other")
			if gone(c, tt.gone)() {
				t.Fatal("it was not copied at first")
			}
			shell(t, c.dir, tt.script)
			for deadline := time.Now().Add(5 * time.Second); !gone(c, tt.gone)(); c.copy(t, 30*time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is there still")
				}
			}
		})
	}
}

// TestFollowNewRules writes rules into directories that have just been made.
func TestFollowNewRules(t *testing.T) {
	c := follow(t, 0, "")
	const many = 200
	for i := range many {
		d := filepath.Join(c.dir, fmt.Sprint("d", i))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Duration(rand.IntN(120)) * time.Microsecond); time.Now().Before(end); { // shorter than a sleep
		}
		testenv.WriteFile(t, filepath.Join(d, ".gitignore"), "ignored\n")
	}
	c.copy(t, 100*time.Millisecond)
	for i := range many {
		testenv.WriteFile(t, filepath.Join(c.dir, fmt.Sprint("d", i), "ignored"), "")
	}
	if c.copy(t, 100*time.Millisecond) {
		t.Error("some of the rules are not known")
	}
}

// TestFollowUnreadableRules has rules be too long for a while, of the top and of a
// directory: they are read as soon as they can be, and until then that is said.
func TestFollowUnreadableRules(t *testing.T) {
	for _, where := range []string{".gitignore", "d/.gitignore"} {
		c := follow(t, 100*time.Millisecond, "", "d/f")
		testenv.WriteFile(t, filepath.Join(c.dir, where), strings.Repeat("x\n", 1<<20))
		time.Sleep(300 * time.Millisecond)
		testenv.WriteFile(t, filepath.Join(c.dir, where), "x\n")
		c.becomes(t, "the rules of "+where)
		testenv.WriteFile(t, filepath.Join(c.dir, "d/f"), "after that")
		c.becomes(t, "a save under "+where)
		c.w.Close()
		if where == ".gitignore" && !strings.Contains(c.log.String(), "copying is paused") {
			t.Errorf("nothing is said of %s: %s", where, &c.log)
		}
	}
}

// TestDirectoriesNamedLikeEditorsFiles copies directories whatever an editor would call
// a file.
func TestDirectoriesNamedLikeEditorsFiles(t *testing.T) {
	m, dir, top := mirror(t)
	for _, d := range []string{"4913", "5036", "backup~", ".x.swp", "#a#"} {
		aged(t, filepath.Join(dir, "testdata", d, "a.go"), d)
	}
	if r, err := m.SyncAll(t.Context(), false); err != nil || len(differ(dir, top)) > 0 {
		t.Errorf("%+v, %v: these differ: %q", r, err, differ(dir, top))
	}
}

// TestRemoveBelowWhatIsNoDirectory removes what can't be there, since somebody on the
// node has done what was done here.
func TestRemoveBelowWhatIsNoDirectory(t *testing.T) {
	m, dir, top := mirror(t)
	aged(t, filepath.Join(dir, "d/x"), "1")
	aged(t, filepath.Join(dir, "e"), "1")
	if _, err := m.SyncAll(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for _, side := range []string{dir, top} {
		if err := os.RemoveAll(filepath.Join(side, "d")); err != nil {
			t.Fatal(err)
		}
		aged(t, filepath.Join(side, "d"), "a file")
	}
	if r, err := m.SyncAll(t.Context(), false); err != nil || len(r.Failed) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestKeepPipe keeps what is neither a file nor a directory nor a link.
func TestKeepPipe(t *testing.T) {
	m, dir, top := mirror(t)
	aged(t, filepath.Join(dir, "removed"), "1")
	if _, err := m.SyncAll(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "removed")), os.Remove(filepath.Join(top, "removed"))); err != nil {
		t.Fatal(err)
	}
	aged(t, filepath.Join(dir, "made"), "1")
	for _, name := range []string{"removed", "made"} {
		if err := syscall.Mkfifo(filepath.Join(top, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := m.SyncAll(t.Context(), false); err != nil || len(r.Kept) != 2 || len(r.Failed) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestLongPath has a path be longer than the node takes: it is named, and the rest is
// copied.
func TestLongPath(t *testing.T) {
	m, dir, top := mirror(t)
	at, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		name := strings.Repeat("d", 250)
		if err := at.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		below, err := at.OpenRoot(name)
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = below
	}
	at.Close()
	aged(t, filepath.Join(dir, "z"), "1")
	r, err := m.SyncAll(t.Context(), false)
	if err != nil || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Reason, "the path is longer than") {
		t.Errorf("%d failed, %v", len(r.Failed), err)
	}
	if content(t, filepath.Join(top, "z")) != "1" {
		t.Error("the rest was not copied")
	}
	if r, err = m.SyncBatch(t.Context(), filesync.Batch{Paths: []string{strings.Repeat("d/", 2100) + "f"}}); err != nil || len(r.Failed) != 1 {
		t.Errorf("as a change: %d failed, %v", len(r.Failed), err)
	}
}
