package receiver

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/filesync/tree"
)

// conversation returns frames of every kind that a host sends.
func conversation() []byte {
	var b bytes.Buffer
	w := newFrameWriter(&b)
	file := tree.Entry{Path: "d/f", Kind: tree.File, Size: 2, Perm: 0o644, MTime: -1}
	for _, e := range []tree.Entry{{Path: "d", Kind: tree.Dir, Perm: 0o755}, {Path: "d/l", Kind: tree.Link, Target: "../../../outside"}} {
		w.entry(e)
		w.entry(tree.Entry{Path: e.Path})
		w.send(framePut)
	}
	w.entry(file)
	w.entry(tree.Entry{Path: file.Path})
	w.send(framePut)
	w.raw([]byte("xy"))
	w.send(frameData)
	w.text("no digest")
	w.send(frameEnd)
	w.entry(file)
	w.entry(tree.Entry{Path: file.Path})
	w.send(framePut)
	_ = w.data([]byte("xy"), true)
	w.text("no digest")
	w.send(frameEnd)
	w.text("d/f")
	w.send(frameSum)
	w.send(frameScan)
	w.number(1)
	w.send(frameStage)
	w.entry(file)
	w.entry(tree.Entry{Path: file.Path})
	w.text("d/f")
	w.send(framePlace)
	w.entry(file)
	w.send(frameRemove)
	w.flush()
	return b.Bytes()
}

// FuzzServe holds that whatever a host sends, nothing outside of the tree is
// touched, nothing temporary stays, and the receiver ends.
func FuzzServe(f *testing.F) {
	f.Add(conversation())
	f.Add(bytes.ReplaceAll(conversation(), []byte("d/f"), []byte("../")))
	f.Add(bytes.ReplaceAll(conversation(), []byte("d/f"), []byte("o/s")))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, top := dirs(t)
		outside := filepath.Join(filepath.Dir(filepath.Dir(top)), "host")
		writeMode(t, filepath.Join(outside, "s"), "outside", 0o644)
		if err := os.Symlink(outside, filepath.Join(top, "o")); err != nil {
			t.Fatal(err)
		}
		err := Serve(Config{Top: top, Now: time.Unix(0, 0), In: bytes.NewReader(in), Out: io.Discard})
		if err != nil && !errors.Is(err, errWire) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("it ended with %v", err)
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 || content(t, filepath.Join(outside, "s")) != "outside" {
			t.Errorf("outside of the tree: %v, %v", entries, err)
		}
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				os.Chmod(path, 0o700) // so that all can be seen and removed
			}
			return nil
		})
		own := bytes.Contains(in, []byte(TemporaryPrefix)) // then it was asked to
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if strings.HasPrefix(filepath.Base(path), TemporaryPrefix) && !own {
				t.Errorf("%s is left", path)
			}
			return nil
		})
	})
}

// FuzzClient holds that a host understands, or refuses, whatever a node sends.
func FuzzClient(f *testing.F) {
	var b bytes.Buffer
	w := newFrameWriter(&b)
	w.hello(true, nil)
	w.entry(tree.Entry{Path: "d", Kind: tree.Dir, Perm: 0o755})
	w.send(frameEntry)
	w.text("bad")
	w.message(errors.New("no"))
	w.send(frameProblem)
	w.send(frameEnd)
	w.entry(tree.Entry{Path: "f"})
	w.text("/kept")
	w.message(nil)
	w.send(frameAnswer)
	w.number(100_000)
	w.send(frameTaken)
	w.number(maxTaken) // more than was sent
	w.send(frameTaken)
	w.entry(tree.Entry{Path: "large"})
	w.text("")
	w.message(errors.New("no room"))
	w.send(frameAnswer)
	w.text(TemporaryPrefix + "1")
	w.message(nil)
	w.send(frameStage)
	w.text("12345678901234567890123456789012")
	w.message(nil)
	w.send(frameSum)
	w.flush()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := Connect(bytes.NewReader(in), io.Discard, func() {})
		if err != nil {
			return
		}
		m, problems, err := c.Scan()
		if err != nil {
			return
		}
		for _, e := range m {
			if !filepath.IsLocal(filepath.FromSlash(e.Path)) {
				t.Errorf("%q leads out", e.Path)
			}
		}
		for _, p := range problems {
			if len(p.Path) > maxPath {
				t.Error("a path is too long")
			}
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := root.WriteFile("large", make([]byte, 2*firstWindow), 0o600); err != nil {
			t.Fatal(err)
		}
		changes := []Change{{Want: tree.Entry{Path: "f"}}, {Want: tree.Entry{Path: "large", Kind: tree.File}}}
		err = c.Apply(t.Context(), root, changes, func(change Change, r Result) {
			if r.Now.Path != change.Want.Path {
				t.Errorf("an answer of %q", r.Now.Path)
			}
		})
		if err == nil {
			dir, failed, err := c.Stage()
			if failed == nil && err == nil && (!inside(dir) || !strings.HasPrefix(dir, TemporaryPrefix)) {
				t.Errorf("staged in %q", dir)
			}
			_ = c.Sums([]string{"f"}, func(string, []byte, error) {})
		}
	})
}
