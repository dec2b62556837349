package filesync_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// change is a step of TestConformance.
type change struct {
	name string
	do   func()
}

// changes returns what people, editors and builds do to the tree at dir.
func changes(t *testing.T, dir string) []change {
	c := changer{t, dir}
	return slices.Concat(c.smallFiles(), c.largeFiles(), c.modes(), c.oddNames(), []change{
		{"a tree for a file", func() { c.ok(os.Remove(c.at("large"))); c.put("large/is/a/tree", "now") }},
	})
}

// changer changes files below a directory.
type changer struct {
	t   *testing.T
	dir string
}

func (c changer) at(name string) string { return filepath.Join(c.dir, name) }

func (c changer) put(name, text string) {
	c.t.Helper()
	testenv.WriteFile(c.t, c.at(name), text)
}

func (c changer) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Error(err)
	}
}

func (c changer) smallFiles() []change {
	at, put, ok := c.at, c.put, c.ok
	return []change{
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
	}
}

func (c changer) largeFiles() []change {
	at, put, ok := c.at, c.put, c.ok
	large := make([]byte, 16<<20)
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(large)
	return []change{
		{"16 MiB", func() { put("large", string(large)) }},
		{"an edit within", func() { copy(large[5<<20:], "one line is another"); put("large", string(large)) }},
		{"an insertion", func() { large = slices.Insert(large, 3<<20, []byte("one line more\n")...); put("large", string(large)) }},
		{"growth", func() { large = append(large, "appended"...); put("large", string(large)) }},
		{"truncation", func() { large = large[:9<<20]; put("large", string(large)) }},
		{"a rewrite of the same size and time", func() {
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
	}
}

func (c changer) modes() []change {
	at, put, ok := c.at, c.put, c.ok
	return []change{
		{"modes", func() {
			perms := []os.FileMode{0o400, 0o777, 0o604, 0o555}
			if os.Getuid() == 0 { // root can read these too
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
	}
}

// oddNames changes files with names that a shell, rsync or a list of names could misread.
func (c changer) oddNames() []change {
	names := []string{
		"-e sh x", "--delete", "#comment", ";comment", "new\nline", "\r", "\x1b[2J", "bad\xff\xfe", " ", " both ends ", "a*b", "?", "[a-z]", "{a,b}",
		"back\\slash", "\\#012", "~", "$HOME", "`id`", "'", `"`, "node:f", "a;b", "ä", "..f", "...", "-/-/-", "deep/" + strings.Repeat("directory/", 60) + "f",
		strings.Repeat("n", 255),
	}
	putAll := func(text string) func() {
		return func() {
			for _, name := range names {
				c.put("odd/"+name, text+name)
			}
		}
	}
	return []change{{"odd names", putAll("first, of ")}, {"a change of those", putAll("second, of ")}}
}
