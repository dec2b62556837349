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

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// conversation returns frames of every kind that the host sends.
func conversation() []byte {
	var b bytes.Buffer
	w := frame.NewWriter(&b)
	file := tree.Entry{Path: "d/f", Kind: tree.File, Size: 2, Perm: 0o644, MTime: -1}
	for _, e := range []tree.Entry{{Path: "d", Kind: tree.Dir, Perm: 0o755}, {Path: "d/l", Kind: tree.Link, Target: "../../../outside"}} {
		w.AppendEntry(e)
		w.AppendEntry(tree.Entry{Path: e.Path})
		w.Send(frame.KindPut)
	}
	w.AppendEntry(file)
	w.AppendEntry(tree.Entry{Path: file.Path})
	w.Send(frame.KindPut)
	w.AppendRaw([]byte("xy"))
	w.Send(frame.KindData)
	w.AppendText("no digest")
	w.Send(frame.KindEnd)
	w.AppendEntry(file)
	w.AppendEntry(tree.Entry{Path: file.Path})
	w.Send(frame.KindPut)
	_ = w.SendData([]byte("xy"), true)
	w.AppendText("no digest")
	w.Send(frame.KindEnd)
	w.AppendText("d/f")
	w.Send(frame.KindSum)
	w.Send(frame.KindScan)
	w.AppendNumber(1)
	w.Send(frame.KindStage)
	w.AppendEntry(file)
	w.AppendEntry(tree.Entry{Path: file.Path})
	w.AppendText("d/f")
	w.Send(frame.KindPlace)
	w.AppendEntry(file)
	w.Send(frame.KindRemove)
	w.Flush()
	return b.Bytes()
}

// FuzzServe checks that, whatever a host sends, the receiver ends, touches nothing
// outside of the tree and leaves no temporary files.
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
		err := receive.Serve(receive.Config{Top: top, Now: time.Unix(0, 0), In: bytes.NewReader(in), Out: io.Discard})
		if err != nil && !errors.Is(err, frame.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want nil or an error of the protocol", err)
		}
		checkContent(t, filepath.Join(outside, "s"), "outside")
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("outside of the tree are now %v, %v", entries, err)
		}
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				os.Chmod(path, 0o700) // so that everything can be listed and removed
			}
			return nil
		})
		named := bytes.Contains(in, []byte(frame.TemporaryPrefix)) // the host asked for such a file
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if strings.HasPrefix(filepath.Base(path), frame.TemporaryPrefix) && !named {
				t.Errorf("%s is left", path)
			}
			return nil
		})
	})
}

// FuzzClient checks that the client understands or refuses whatever a node sends.
func FuzzClient(f *testing.F) {
	var b bytes.Buffer
	w := frame.NewWriter(&b)
	w.SendHello(true, nil)
	w.AppendEntry(tree.Entry{Path: "d", Kind: tree.Dir, Perm: 0o755})
	w.Send(frame.KindEntry)
	w.AppendText("bad")
	w.AppendError(errors.New("no"))
	w.Send(frame.KindProblem)
	w.Send(frame.KindEnd)
	w.AppendEntry(tree.Entry{Path: "f"})
	w.AppendText("/kept")
	w.AppendError(nil)
	w.Send(frame.KindAnswer)
	w.AppendNumber(100_000)
	w.Send(frame.KindReceived)
	w.AppendNumber(frame.MaxReceived) // more than was sent
	w.Send(frame.KindReceived)
	w.AppendEntry(tree.Entry{Path: "large"})
	w.AppendText("")
	w.AppendError(errors.New("no room"))
	w.Send(frame.KindAnswer)
	w.AppendText(frame.TemporaryPrefix + "1")
	w.AppendError(nil)
	w.Send(frame.KindStage)
	w.AppendText("12345678901234567890123456789012")
	w.AppendError(nil)
	w.Send(frame.KindSum)
	w.Flush()
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
				t.Errorf("%q is outside of the tree", e.Path)
			}
		}
		for _, p := range problems {
			if len(p.Path) > frame.MaxPath {
				t.Errorf("a path has %d bytes", len(p.Path))
			}
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := root.WriteFile("large", make([]byte, 2*initialWindow), 0o600); err != nil {
			t.Fatal(err)
		}
		changes := []Change{{Want: tree.Entry{Path: "f"}}, {Want: tree.Entry{Path: "large", Kind: tree.File}}}
		err = c.Apply(t.Context(), root, changes, func(change Change, r Result) {
			if r.Now.Path != change.Want.Path {
				t.Errorf("got the result of %q, want that of %q", r.Now.Path, change.Want.Path)
			}
		})
		if err == nil {
			dir, stageErr, err := c.Stage()
			if stageErr == nil && err == nil && (!frame.IsInside(dir) || !strings.HasPrefix(dir, frame.TemporaryPrefix)) {
				t.Errorf("staged in %q", dir)
			}
			_ = c.HashFiles([]string{"f"}, func(string, []byte, error) {})
		}
	})
}
