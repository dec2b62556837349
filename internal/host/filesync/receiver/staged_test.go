package receiver

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api/frame"
)

// stage creates the directory for staged files and returns its path in the tree.
func (p *pair) stage(t *testing.T) string {
	t.Helper()
	dir, stageErr, chanErr := p.client.Stage()
	if stageErr != nil || chanErr != nil {
		t.Fatal(stageErr, chanErr)
	}
	return dir
}

// TestStagedFiles checks that correct staged files are put in place, and the others are
// sent.
func TestStagedFiles(t *testing.T) {
	host, top := dirs(t)
	for _, name := range []string{"d/right", "d/older", "d/torn", "d/missing", "d/edited"} {
		writeMode(t, filepath.Join(host, name), "the host's "+name, 0o640)
	}
	p := startPair(t, host, top, false)
	p.apply(t, p.put(t, "d"))
	writeMode(t, filepath.Join(top, "d/edited"), "by the node", 0o600)
	dir := p.stage(t)
	if info, err := os.Stat(filepath.Join(top, dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory for staged files: %v, %v", info, err)
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
	results := p.apply(t, changes...)
	for path, r := range results {
		if r.Err != nil {
			t.Errorf("%s: %v", path, r.Err)
		}
		checkContent(t, filepath.Join(top, path), "the host's "+path)
		want, err := os.Stat(filepath.Join(host, path))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.Stat(filepath.Join(top, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) {
			t.Errorf("%s: got %v of %v, want %v of %v", path, got.Mode(), got.ModTime(), want.Mode(), want.ModTime())
		}
		if staged := path == "d/right" || path == "d/edited"; r.FromStaged != staged {
			t.Errorf("%s: from the staged file: %v, want %v", path, r.FromStaged, staged)
		}
	}
	checkKept(t, "d/edited", results["d/edited"], "by the node")
	if stageErr, chanErr := p.client.Unstage(); stageErr != nil || chanErr != nil {
		t.Error(stageErr, chanErr)
	}
	checkNoTemporary(t, top)
}

// TestOnlyStagedFilesArePlaced checks that all other paths are refused, and what is there
// is left alone.
func TestOnlyStagedFilesArePlaced(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "f"), "host's", 0o644)
	writeMode(t, filepath.Join(top, "theirs"), "host's", 0o644)
	outside := filepath.Join(filepath.Dir(top), "outside")
	writeMode(t, filepath.Join(outside, "f"), "host's", 0o644)
	p := startPair(t, host, top, false)
	sum := sha256.Sum256([]byte("host's"))
	place := func(from string) Result {
		t.Helper()
		c := p.put(t, "f")
		c.Staged = StagedFile{Path: from, Sum: sum[:]}
		return p.apply(t, c)["f"]
	}
	if r := place("theirs"); r.Err == nil {
		t.Error("a file was placed before there was a directory for staged ones")
	}
	dir := p.stage(t)
	if err := os.Symlink(outside, filepath.Join(top, dir, "out")); err != nil {
		t.Fatal(err)
	}
	writeMode(t, filepath.Join(top, dir, "shorter"), "host", 0o644)
	for _, from := range []string{"theirs", dir + "/out/f", dir + "/none", dir, dir + "x/f", dir + "/shorter"} {
		if r := place(from); r.Err == nil || r.Now.Kind != 0 {
			t.Errorf("%s was placed: %+v", from, r)
		}
	}
	checkContent(t, filepath.Join(top, "theirs"), "host's")
	checkContent(t, filepath.Join(outside, "f"), "host's")
	checkContent(t, filepath.Join(top, "f"), missing)
}

func TestStagedFilesAreRemovedWithTheChannel(t *testing.T) {
	host, top := dirs(t)
	t.Run("until the channel ends", func(t *testing.T) {
		p := startPair(t, host, top, false)
		writeMode(t, filepath.Join(top, p.stage(t), "d/f"), "x", 0o600)
	})
	checkNoTemporary(t, top)
}

// TestScanRemovesStagedFiles checks that a scan removes what a killed receiver has left,
// unless the receiver is read-only.
func TestScanRemovesStagedFiles(t *testing.T) {
	host, top := dirs(t)
	left := filepath.Join(top, frame.TemporaryPrefix+"17-1")
	writeMode(t, filepath.Join(left, "d/f"), "x", 0o600)
	for _, readOnly := range []bool{true, false} {
		m, problems, err := startPair(t, host, top, readOnly).client.Scan()
		if err != nil || len(problems) != 0 {
			t.Errorf("read-only %v: %v, %v", readOnly, problems, err)
		}
		if len(m) != 0 {
			t.Errorf("read-only %v: the scan lists %v", readOnly, m)
		}
		if _, err := os.Lstat(left); (err == nil) != readOnly {
			t.Errorf("read-only %v: afterwards: %v", readOnly, err)
		}
	}
}

// TestStageAgain checks that staging again replaces the directory.
func TestStageAgain(t *testing.T) {
	host, top := dirs(t)
	p := startPair(t, host, top, false)
	first, second := p.stage(t), p.stage(t)
	if first == second || !strings.HasPrefix(second, frame.TemporaryPrefix) {
		t.Errorf("staged in %q, then in %q", first, second)
	}
	if entries, _ := os.ReadDir(top); len(entries) != 1 {
		t.Errorf("the tree holds %v, want only %s", entries, second)
	}
}
