package filesync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/host/remote/remotetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// bothWays runs a test with mirrors that send all as a whole, and with such that
// send by rsync whatever can be.
func bothWays(t *testing.T, f func(t *testing.T, m *filesync.Mirror, dir, top string)) {
	t.Run("whole", func(t *testing.T) {
		m, dir, top := mirror(t)
		f(t, m, dir, top)
	})
	t.Run("rsync", func(t *testing.T) {
		if _, err := rsync.Find(t.Context()); err != nil {
			testenv.Skipf(t, "%v", err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		m, dir, top := mirror(t)
		m.Deltas, m.MinDeltaSize = &rsync.Transfer{Self: self, Node: remotetest.Local{}, Top: top}, 1
		f(t, m, dir, top)
	})
}

// holds returns what a tree holds: kind, mode, time, content or target of each path.
func holds(dir string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		below, what := path[len(dir)+1:], fmt.Sprint(info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			what += " to " + target
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" of %v: %s", info.ModTime(), text)
		}
		all[below] = what
		return nil
	})
	return all, err
}

// differ names paths at which two trees differ.
func differ(a, b string) []string {
	inA, errA := holds(a)
	inB, errB := holds(b)
	if err := errors.Join(errA, errB); err != nil {
		return []string{err.Error()}
	}
	var paths []string
	for p := range inA {
		if inA[p] != inB[p] {
			paths = append(paths, p)
		}
	}
	for p := range inB {
		if _, ok := inA[p]; !ok {
			paths = append(paths, p)
		}
	}
	return paths[:min(len(paths), 10)]
}

// follower does for a mirror what a watcher says.
type follower struct {
	m        *filesync.Mirror
	w        *filesync.Watcher
	dir, top string
	sum      filesync.Report
}

// settle copies what has changed until the trees are equal.
func (f *follower) settle(t *testing.T, after string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		b, err := f.w.Next(ctx)
		if err != nil {
			t.Fatalf("after %s these differ: %q (%+v)", after, differ(f.dir, f.top), f.sum)
		}
		var r filesync.Report
		if b.FullScan != "" {
			r, err = f.m.SyncAll(ctx, false)
		} else {
			r, err = f.m.SyncBatch(ctx, b)
		}
		if err != nil || r.NoDeltas != "" {
			t.Fatalf("after %s: %v, %s", after, err, r.NoDeltas)
		}
		f.sum.Deltas += r.Deltas
		f.sum.Saved += r.Saved
		f.sum.Failed, f.sum.Kept = append(f.sum.Failed, r.Failed...), append(f.sum.Kept, r.Kept...)
		if len(differ(f.dir, f.top)) == 0 {
			return
		}
	}
}

// TestConformance has the node's tree follow each kind of change, by both ways.
func TestConformance(t *testing.T) {
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		for i := range 50 {
			testenv.WriteFile(t, filepath.Join(dir, fmt.Sprintf("d%d/f%d", i%5, i)), fmt.Sprint("file ", i))
		}
		testenv.WriteFile(t, filepath.Join(dir, "sub/f"), "first")
		w, err := filesync.Watch(filesync.WatchConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		f := &follower{m: m, w: w, dir: dir, top: top}
		f.settle(t, "the start")
		for _, s := range changes(t, dir) {
			s.do()
			f.settle(t, s.what)
		}
		if len(f.sum.Failed)+len(f.sum.Kept) > 0 {
			t.Errorf("failed: %v, kept: %v", f.sum.Failed, f.sum.Kept)
		}
		if by := m.Deltas != nil; by != (f.sum.Deltas > 40) || by != (f.sum.Saved > 50<<20) {
			t.Errorf("by rsync: %v; %d files, %d bytes saved", by, f.sum.Deltas, f.sum.Saved)
		}
	})
}

// change is a step of a test.
type change struct {
	what string
	do   func()
}

// changes are what people, editors and builds do to a tree under dir.
func changes(t *testing.T, dir string) []change {
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name, text string) { t.Helper(); testenv.WriteFile(t, at(name), text) }
	ok := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	large := make([]byte, 16<<20)
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(large)
	return slices.Concat([]change{
		{"writing in place", func() { put("sub/f", "in place") }},
		{"a rewrite of the same size", func() { put("sub/f", "In place"); put("sub/f", "iN place") }},
		{"write and rename", func() { put("sub/f.new", "renamed"); ok(os.Rename(at("sub/f.new"), at("sub/f"))) }},
		{"JetBrains' save", func() {
			put("sub/f___jb_tmp___", "by an IDE")
			ok(os.Rename(at("sub/f"), at("sub/f___jb_old___")))
			ok(os.Rename(at("sub/f___jb_tmp___"), at("sub/f")))
			ok(os.Remove(at("sub/f___jb_old___")))
		}},
		{"chmod", func() { ok(os.Chmod(at("sub/f"), 0o755)) }},
		{"chmod of a directory", func() { ok(os.Chmod(at("sub"), 0o700)) }},
		{"an empty file", func() { put("empty", "") }},
		{"a symbolic link", func() { ok(os.Symlink("sub/f", at("l"))) }},
		{"another target", func() { ok(os.Remove(at("l"))); ok(os.Symlink("nowhere", at("l"))) }},
		{"a hard link", func() { ok(os.Link(at("sub/f"), at("hard"))) }},
		{"deep directories at once", func() { put("a/b/c/d/f", "deep") }},
		{"a directory renamed", func() { ok(os.Rename(at("a"), at("z"))) }},
		{"a change in it", func() { put("z/b/c/d/f", "deeper") }},
		{"a file for a directory", func() { ok(os.RemoveAll(at("z"))); put("z", "file") }},
		{"a directory for a file", func() { ok(os.Remove(at("z"))); put("z/f", "") }},
		{"a link for a directory", func() { ok(os.RemoveAll(at("z"))); ok(os.Symlink("sub", at("z"))) }},
		{"removal and again", func() { ok(os.Remove(at("sub/f"))); put("sub/f", "again") }},
		{"removal", func() { ok(os.Remove(at("hard"))); ok(os.RemoveAll(at("d0"))) }},
		{"2,000 files", func() {
			for i := range 2000 {
				put(fmt.Sprintf("many/%d/%d", i%20, i), fmt.Sprint("file ", i))
			}
		}},
		{"a rewrite of 40 of them", func() {
			for i := range 40 {
				put(fmt.Sprintf("many/%d/%d", i%20, i), fmt.Sprint("File ", i))
			}
		}},
		{"removal of them", func() { ok(os.RemoveAll(at("many"))) }},
	}, []change{
		{"16 MiB", func() { put("large", string(large)) }},
		{"an edit within", func() { copy(large[5<<20:], "one line is another"); put("large", string(large)) }},
		{"an insertion", func() { large = slices.Insert(large, 3<<20, []byte("one line more\n")...); put("large", string(large)) }},
		{"growth", func() { large = append(large, "appended"...); put("large", string(large)) }},
		{"truncation", func() { large = large[:9<<20]; put("large", string(large)) }},
		{"a rewrite of the same size and time", func() { // within the step of the watcher's batches
			info, err := os.Stat(at("large"))
			ok(err)
			copy(large[1<<20:], "the same size, the same time")
			put("large", string(large))
			ok(os.Chtimes(at("large"), info.ModTime(), info.ModTime()))
		}},
		{"the same within a second, several times", func() {
			now := time.Now()
			for i := range 5 {
				put("sub/f", fmt.Sprintf("edit number %d", i))
				ok(os.Chtimes(at("sub/f"), now, now))
			}
		}},
		{"a large file that holds nothing any more", func() { put("large", "") }},
		{"and again", func() { put("large", string(large)) }},
		{"holes", func() {
			ok(os.Truncate(at("large"), 24<<20))
			put("holes", "")
			ok(os.Truncate(at("holes"), 8<<20))
		}},
		{"another file in the place of a large one", func() {
			put("other", string(large[:1<<20]))
			ok(os.Rename(at("other"), at("large")))
		}},
		{"modes", func() {
			perms := []os.FileMode{0o400, 0o777, 0o604, 0o555}
			if os.Getuid() == 0 { // who reads these too
				perms = append(perms, 0o200, 0o111, 0)
			}
			for i, perm := range perms {
				put(fmt.Sprint("modes/", i), "x")
				ok(os.Chmod(at(fmt.Sprint("modes/", i)), perm))
			}
		}},
		{"a directory that can't be written to", func() {
			put("closed/f", "before")
			ok(os.Chmod(at("closed"), 0o755))
		}},
		{"a change in it", func() { put("closed/f", "after"); ok(os.Chmod(at("closed"), 0o555)) }},
	}, odd(t, dir), []change{
		{"a tree for a file", func() { ok(os.Remove(at("large"))); put("large/is/a/tree", "now") }},
	})
}

// odd are files with names that a shell, rsync or a list of names could misread.
func odd(t *testing.T, dir string) []change {
	names := []string{
		"-e sh x", "--delete", "#comment", ";comment", "new\nline", "\r", "\x1b[2J", "bad\xff\xfe", " ", " both ends ", "a*b", "?", "[a-z]", "{a,b}",
		"back\\slash", "\\#012", "~", "$HOME", "`id`", "'", `"`, "node:f", "a;b", "ä", "..f", "...", "-/-/-", "deep/" + strings.Repeat("directory/", 60) + "f",
		strings.Repeat("n", 255),
	}
	all := func(text string) func() {
		return func() {
			for _, name := range names {
				testenv.WriteFile(t, filepath.Join(dir, "odd", name), text+name)
			}
		}
	}
	return []change{{"odd names", all("first, of ")}, {"a change of those", all("second, of ")}}
}

// TestChangesWhileSent ends with equal trees though files change, vanish and become
// something else while they are sent.
func TestChangesWhileSent(t *testing.T) {
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		name := func(i int) string { return filepath.Join(dir, fmt.Sprint("f", i)) }
		text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		for i := range 16 {
			aged(t, name(i), string(text))
		}
		if _, err := m.SyncAll(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		for round := range testenv.Rounds(t, 2) {
			for i := range 16 {
				testenv.WriteFile(t, name(i), fmt.Sprint(round, string(text)))
			}
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					switch at := name(rand.IntN(16)); n % 4 {
					case 0:
						_ = os.WriteFile(at, fmt.Append(nil, n, string(text)), 0o644)
					case 1:
						_ = os.Truncate(at, rand.Int64N(1<<20))
					case 2:
						_ = os.Remove(at)
					case 3:
						_ = os.Remove(at)
						_ = os.Symlink("f0", at)
						_ = os.Remove(at)
						_ = os.Mkdir(at, 0o755)
						_ = os.Remove(at)
						_ = os.WriteFile(at, text, 0o600)
					}
				}
			}()
			_, err := m.SyncAll(t.Context(), false)
			close(stop)
			<-ended
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // what has just been written to is sent once more
				if _, err := m.SyncAll(t.Context(), false); err != nil {
					t.Fatal(err)
				}
			}
			if paths := differ(dir, top); len(paths) > 0 {
				t.Fatalf("round %d: these differ: %q", round, paths)
			}
		}
	})
}

// TestEditedOnTheNode keeps a large file that was edited there, also when rsync has
// used it.
func TestEditedOnTheNode(t *testing.T) {
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		large := strings.Repeat("line\n", 1<<20)
		aged(t, filepath.Join(dir, "large"), large)
		if _, err := m.SyncAll(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		aged(t, filepath.Join(dir, "large"), large+"the host's")
		aged(t, filepath.Join(top, "large"), large+"the node's")
		r, err := m.SyncAll(t.Context(), true)
		if err != nil || len(r.Kept) != 1 || content(t, r.Kept[0].At) != large+"the node's" || content(t, filepath.Join(top, "large")) != large+"the host's" {
			t.Errorf("%+v, %v", r, err)
		}
		// The same was written on both sides.
		aged(t, filepath.Join(dir, "large"), large+"the same")
		testenv.WriteFile(t, filepath.Join(top, "large"), large+"the same")
		if r, err := m.SyncAll(t.Context(), true); err != nil || len(r.Kept) != 0 || len(differ(dir, top)) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		// What stands in its place leads elsewhere.
		outside := filepath.Join(filepath.Dir(top), "outside")
		aged(t, outside, large)
		os.Remove(filepath.Join(top, "large"))
		if err := os.Symlink(outside, filepath.Join(top, "large")); err != nil {
			t.Fatal(err)
		}
		aged(t, filepath.Join(dir, "large"), large+"the last")
		r, err = m.SyncAll(t.Context(), true)
		if err != nil || len(r.Kept) != 1 || content(t, outside) != large || len(differ(dir, top)) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestNodeMadeAnew sends all as a whole to a node that has lost what was put there.
func TestNodeMadeAnew(t *testing.T) {
	bothWays(t, func(t *testing.T, m *filesync.Mirror, dir, top string) {
		aged(t, filepath.Join(dir, "d/f"), "first")
		aged(t, filepath.Join(dir, "d/g"), "first")
		if _, err := m.SyncAll(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(filepath.Join(top, "d"))
		if err := os.Mkdir(filepath.Join(top, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "d/g"))
		if r, err := m.SyncAll(t.Context(), false); err != nil || r.Files != 1 || r.Deltas != 0 || len(differ(dir, top)) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
