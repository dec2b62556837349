package receiver

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api/frame"
)

// TestStaged puts files whose content somebody else has brought, and sends those
// that are not right.
func TestStaged(t *testing.T) {
	host, top := dirs(t)
	for _, name := range []string{"d/right", "d/older", "d/torn", "d/missing", "d/edited"} {
		writeMode(t, filepath.Join(host, name), "the host's "+name, 0o640)
	}
	p := link(t, host, top, false)
	p.apply(t, p.put(t, "d"))
	writeMode(t, filepath.Join(top, "d/edited"), "by the node", 0o600)
	dir, failed, lost := p.client.Stage()
	if failed != nil || lost != nil {
		t.Fatal(failed, lost)
	}
	if info, err := os.Stat(filepath.Join(top, dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	changes := []Change{p.put(t, "d/right"), p.put(t, "d/older"), p.put(t, "d/torn"), p.put(t, "d/missing"), p.put(t, "d/edited")}
	for i, text := range []string{"the host's d/right", "an old d/older", "the host's", "", "the host's d/edited"} {
		path := dir + "/" + changes[i].Want.Path
		if text != "" {
			writeMode(t, filepath.Join(top, path), text, 0o200)
		}
		sum := sha256.Sum256([]byte(text))
		changes[i].Staged = StagedFile{Path: path, Sum: sum[:]}
	}
	all := p.apply(t, changes...)
	for path, r := range all {
		want, _ := os.Stat(filepath.Join(host, path))
		got, err := os.Stat(filepath.Join(top, path))
		if r.Err != nil || err != nil || got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) || content(t, filepath.Join(top, path)) != "the host's "+path {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
		if staged := path == "d/right" || path == "d/edited"; r.FromStaged != staged {
			t.Errorf("%s: its content was staged: %v", path, r.FromStaged)
		}
	}
	if kept := all["d/edited"].Kept; content(t, kept) != "by the node" {
		t.Errorf("kept is %q", kept)
	}
	if failed, lost := p.client.Unstage(); failed != nil || lost != nil {
		t.Error(failed, lost)
	}
	nothingLeft(t, top)
}

// TestStagedElsewhere takes nothing for a staged file that is none, and leaves it
// where it is.
func TestStagedElsewhere(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "f"), "host's", 0o644)
	writeMode(t, filepath.Join(top, "theirs"), "host's", 0o644)
	outside := filepath.Join(filepath.Dir(top), "outside")
	writeMode(t, filepath.Join(outside, "f"), "host's", 0o644)
	p := link(t, host, top, false)
	sum := sha256.Sum256([]byte("host's"))
	place := func(from string) Result {
		t.Helper()
		c := p.put(t, "f")
		c.Staged = StagedFile{Path: from, Sum: sum[:]}
		return p.apply(t, c)["f"]
	}
	if r := place("theirs"); r.Err == nil {
		t.Error("a file was taken before there was a directory for staged ones")
	}
	dir, _, _ := p.client.Stage()
	if err := os.Symlink(outside, filepath.Join(top, dir, "out")); err != nil {
		t.Fatal(err)
	}
	writeMode(t, filepath.Join(top, dir, "shorter"), "host", 0o644)
	for _, from := range []string{"theirs", dir + "/out/f", dir + "/none", dir, dir + "x/f", dir + "/shorter"} {
		if r := place(from); r.Err == nil || r.Now.Kind != 0 {
			t.Errorf("%s was placed: %+v", from, r)
		}
	}
	if content(t, filepath.Join(top, "theirs")) != "host's" || content(t, filepath.Join(outside, "f")) != "host's" || content(t, filepath.Join(top, "f")) != "not there" {
		t.Error("what was not staged was touched")
	}
}

// TestStagedIsGone leaves no staged file behind, whether the channel ends or the
// receiver is killed.
func TestStagedIsGone(t *testing.T) {
	host, top := dirs(t)
	t.Run("the channel ends", func(t *testing.T) {
		p := link(t, host, top, false)
		dir, _, _ := p.client.Stage()
		writeMode(t, filepath.Join(top, dir, "d/f"), "x", 0o600)
	})
	nothingLeft(t, top)
	left := filepath.Join(top, frame.TemporaryPrefix+"17-1")
	writeMode(t, filepath.Join(left, "d/f"), "x", 0o600)
	for _, look := range []bool{true, false} {
		m, problems, err := link(t, host, top, look).client.Scan()
		if err != nil || len(problems) != 0 || len(m) != 0 {
			t.Errorf("%v, %v, %v", m, problems, err)
		}
		if _, err := os.Lstat(left); (err == nil) != look {
			t.Errorf("looking only: %v, then: %v", look, err)
		}
	}
	// One that stages again has one directory.
	p := link(t, host, top, false)
	first, _, _ := p.client.Stage()
	second, failed, lost := p.client.Stage()
	entries, _ := os.ReadDir(top)
	if failed != nil || lost != nil || first == second || len(entries) != 1 || !strings.HasPrefix(second, frame.TemporaryPrefix) {
		t.Errorf("%q, then %q: %v, %v, %v", first, second, entries, failed, lost)
	}
}
