package receiver

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// pair is a client for a host's tree, and the receiver it talks to.
type pair struct {
	client *Client
	host   string
	top    string
	root   *os.Root // of the host's tree
	hangUp func()
	done   chan error // the receiver's result
}

// startPair starts a receiver that writes to top.
func startPair(t testing.TB, host, top string, readOnly bool) *pair {
	t.Helper()
	toNode, toHost := newPipe(t), newPipe(t)
	p := &pair{host: host, top: top, done: make(chan error, 1)}
	p.hangUp = func() { toNode.w.Close(); toHost.r.Close() }
	go func() {
		defer toHost.w.Close()
		p.done <- receive.Serve(receive.Config{Top: top, ReadOnly: readOnly, Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), In: toNode.r, Out: toHost.w})
	}()
	var err error
	if p.client, err = Connect(toHost.r, toNode.w, p.hangUp); err != nil {
		t.Fatal(err)
	}
	if p.root, err = os.OpenRoot(host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.root.Close()
		p.hangUp()
		if err := <-p.done; err != nil {
			t.Errorf("the receiver failed: %v", err)
		}
	})
	return p
}

type pipe struct{ r, w *os.File }

func newPipe(t testing.TB) pipe {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return pipe{r, w}
}

// dirs returns the host's directory and the node's. The latter is two levels below a
// temporary directory, so that tests see what the receiver writes elsewhere.
func dirs(t testing.TB) (host, top string) {
	t.Helper()
	dir := t.TempDir()
	host, top = filepath.Join(dir, "host"), filepath.Join(dir, "node", "top")
	for _, d := range []string{host, top} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return host, top
}

func writeMode(t testing.TB, name, text string, perm os.FileMode) {
	t.Helper()
	testenv.WriteFile(t, name, text)
	if err := os.Chmod(name, perm); err != nil {
		t.Fatal(err)
	}
}

// missing is the content of a file that does not exist.
const missing = "(missing)"

// content returns the content of a file, or missing.
func content(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		return missing
	}
	return string(text)
}

func checkContent(t testing.TB, name, want string) {
	t.Helper()
	if got := content(t, name); got != want {
		t.Errorf("%s holds %.100q, want %.100q", name, got, want)
	}
}

// checkDone checks that a change was made and that nothing had to be kept.
func checkDone(t testing.TB, path string, r Result) {
	t.Helper()
	if r.Err != nil {
		t.Errorf("%s: %v", path, r.Err)
	}
	if r.Kept != "" {
		t.Errorf("%s: something was kept as %q", path, r.Kept)
	}
}

// checkKept checks that a change was made and that what was in its place was kept.
func checkKept(t testing.TB, path string, r Result, want string) {
	t.Helper()
	if r.Err != nil {
		t.Errorf("%s: %v", path, r.Err)
	}
	checkContent(t, r.Kept, want)
}

// apply makes changes and returns their results by path.
func (p *pair) apply(t testing.TB, changes ...Change) map[string]Result {
	t.Helper()
	all := map[string]Result{}
	if err := p.client.Apply(t.Context(), p.root, changes, func(c Change, r Result) { all[c.Want.Path] = r }); err != nil {
		t.Fatal(err)
	}
	return all
}

// put returns the change that copies a path of the host.
func (p *pair) put(t testing.TB, path string) Change {
	t.Helper()
	e, err := tree.Lstat(p.root, path)
	if err != nil {
		t.Fatal(err)
	}
	return Change{Want: e}
}

// checkNoTemporary checks that there are no temporary files below dir.
func checkNoTemporary(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), frame.TemporaryPrefix) {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPut(t *testing.T) {
	host, top := dirs(t)
	for name, perm := range map[string]os.FileMode{"d/small": 0o640, "d/program": 0o755} {
		writeMode(t, filepath.Join(host, name), name, perm)
	}
	writeMode(t, filepath.Join(host, "empty"), "", 0o444)
	writeMode(t, filepath.Join(host, "d/large"), strings.Repeat("0123456789abcdef", 200_000), 0o600)
	if err := os.Symlink("../elsewhere", filepath.Join(host, "d/l")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(host, "d"), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(host, "d"), 0o755); os.Chmod(filepath.Join(top, "d"), 0o755) })
	p := startPair(t, host, top, false)
	paths := []string{"d", "d/large", "d/program", "d/small", "d/l", "empty"}
	var changes []Change
	for _, path := range paths {
		changes = append(changes, p.put(t, path))
	}
	for path, r := range p.apply(t, changes...) {
		checkDone(t, path, r)
	}
	node, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for _, path := range paths {
		want, _ := tree.Lstat(p.root, path)
		got, err := tree.Lstat(node, path)
		if err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
		if want.Kind == tree.File {
			checkContent(t, filepath.Join(top, path), content(t, filepath.Join(host, path)))
		}
	}
	checkNoTemporary(t, top)

	m, problems, err := p.client.Scan()
	if err != nil || len(problems) > 0 {
		t.Fatalf("scan: %v, %v", problems, err)
	}
	if len(m) != len(paths) {
		t.Errorf("the scan lists %v, want %q", m, paths)
	}
}

func TestPutReplacesOtherKind(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "f"), "a file", 0o644)
	p := startPair(t, host, top, false)
	file := p.apply(t, p.put(t, "f"))["f"]

	os.Remove(filepath.Join(host, "f"))
	if err := os.Mkdir(filepath.Join(host, "f"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := p.put(t, "f")
	c.Expected = file.Now
	dir := p.apply(t, c)["f"]
	checkDone(t, "a directory for a file", dir)
	if dir.Now.Kind != tree.Dir {
		t.Errorf("got a %v, want a directory", dir.Now.Kind)
	}

	os.Remove(filepath.Join(host, "f"))
	writeMode(t, filepath.Join(host, "f"), "again", 0o644)
	checkDone(t, "a file for a directory", p.apply(t, p.put(t, "f"))["f"])
	checkContent(t, filepath.Join(top, "f"), "again")
}

func TestHashFiles(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(top, "f"), "text", 0o644)
	if err := os.Mkdir(filepath.Join(top, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := startPair(t, host, top, false)
	err := p.client.HashFiles([]string{"f", "d", "nothing"}, func(path string, sum []byte, err error) {
		want := sha256.Sum256([]byte("text"))
		switch {
		case path != "f" && err == nil:
			t.Errorf("%s: got %x, want an error", path, sum)
		case path == "f" && err != nil:
			t.Error(err)
		case path == "f" && !bytes.Equal(sum, want[:]):
			t.Errorf("got %x, want %x", sum, want)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestKeep checks that nothing is lost that was changed on the node.
func TestKeep(t *testing.T) {
	host, top := dirs(t)
	for _, name := range []string{"edited", "same", "new", "gone", "dir"} {
		writeMode(t, filepath.Join(host, name), "host's", 0o644)
	}
	p := startPair(t, host, top, false)
	before := map[string]tree.Entry{}
	for _, name := range []string{"edited", "gone"} {
		before[name] = p.apply(t, p.put(t, name))[name].Now
		writeMode(t, filepath.Join(top, name), "edited there", 0o644)
	}
	writeMode(t, filepath.Join(top, "same"), "host's", 0o600)
	writeMode(t, filepath.Join(top, "dir/of/theirs"), "theirs", 0o644)
	change := func(name string) Change { c := p.put(t, name); c.Expected = before[name]; return c }
	results := p.apply(t, change("edited"), change("same"), change("new"), change("dir"),
		Change{Want: tree.Entry{Path: "gone"}, Expected: before["gone"]}, Change{Want: tree.Entry{Path: "never"}})
	kept := filepath.Join(filepath.Dir(top), receive.BackupDir, "20260102T030405Z", "top")
	for name, want := range map[string]string{"edited": "edited there", "gone": "edited there", "dir/of/theirs": "theirs"} {
		checkContent(t, filepath.Join(kept, name), want)
	}
	for _, name := range []string{"edited", "gone", "dir"} {
		r := results[name]
		if r.Err != nil {
			t.Errorf("%s: %v", name, r.Err)
		}
		if want := filepath.Join(kept, name); r.Kept != want {
			t.Errorf("%s: kept as %q, want %q", name, r.Kept, want)
		}
	}
	for _, name := range []string{"same", "new", "never"} {
		checkDone(t, name, results[name])
	}
	for _, name := range []string{"edited", "same", "new", "dir"} {
		checkContent(t, filepath.Join(top, name), "host's")
	}
	if _, err := os.Lstat(filepath.Join(top, "gone")); err == nil {
		t.Error("the removed file still exists")
	}
	// Again in the same second: the first kept file is not overwritten.
	writeMode(t, filepath.Join(top, "edited"), "edited again", 0o644)
	checkKept(t, "edited", p.apply(t, change("edited"))["edited"], "edited again")
	checkContent(t, filepath.Join(kept, "edited"), "edited there")
}

func TestRemove(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "d/f"), "x", 0o644)
	writeMode(t, filepath.Join(host, "e/f"), "x", 0o644)
	p := startPair(t, host, top, false)
	put := p.apply(t, p.put(t, "d"), p.put(t, "d/f"), p.put(t, "e"), p.put(t, "e/f"))
	writeMode(t, filepath.Join(top, "e/theirs"), "theirs", 0o644)
	var changes []Change
	for _, path := range []string{"e/f", "e", "d/f", "d"} {
		changes = append(changes, Change{Want: tree.Entry{Path: path}, Expected: put[path].Now})
	}
	for path, r := range p.apply(t, changes...) {
		checkDone(t, path, r)
	}
	if _, err := os.Lstat(filepath.Join(top, "d")); err == nil {
		t.Error("the directory still exists")
	}
	checkContent(t, filepath.Join(top, "e/f"), missing)
	checkContent(t, filepath.Join(top, "e/theirs"), "theirs")
}

// TestLinksOnTheNode checks that nothing is written where a symbolic link leads.
func TestLinksOnTheNode(t *testing.T) {
	host, top := dirs(t)
	outside := filepath.Join(filepath.Dir(filepath.Dir(top)), "outside")
	writeMode(t, filepath.Join(outside, "f"), "outside", 0o644)
	writeMode(t, filepath.Join(top, "real/f"), "inside", 0o644)
	writeMode(t, filepath.Join(host, "out/f"), "host's", 0o644)
	writeMode(t, filepath.Join(host, "in/f"), "host's", 0o644)
	writeMode(t, filepath.Join(host, "f"), "host's", 0o644)
	for name, target := range map[string]string{"out": outside, "in": "real", "f": filepath.Join(outside, "f")} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	p := startPair(t, host, top, false)
	results := p.apply(t, p.put(t, "out/f"), p.put(t, "in/f"), p.put(t, "f"))
	for path, r := range results {
		if path != "f" && r.Err == nil {
			t.Errorf("%s was written through a link: %+v", path, r)
		}
	}
	if err := results["f"].Err; err != nil {
		t.Error(err)
	}
	// Nothing is at these paths, as far as the tree goes, so there is nothing to remove.
	for path, r := range p.apply(t, Change{Want: tree.Entry{Path: "out/f"}}, Change{Want: tree.Entry{Path: "in/f"}}) {
		checkDone(t, path, r)
	}
	checkContent(t, filepath.Join(outside, "f"), "outside")
	checkContent(t, filepath.Join(top, "real/f"), "inside")
	checkContent(t, filepath.Join(top, "f"), "host's")
	if target, _ := os.Readlink(results["f"].Kept); target != filepath.Join(outside, "f") {
		t.Errorf("the link was not kept: %+v", results["f"])
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside of the tree are now %v", entries)
	}
	if err := p.client.HashFiles([]string{"out/f", "f"}, func(path string, sum []byte, err error) {
		if (err == nil) != (path == "f") {
			t.Errorf("hash of %s: %x, %v", path, sum, err)
		}
	}); err != nil {
		t.Error(err)
	}
}

// TestFileChangesWhileSent checks that no file ends up with a mixture of two versions.
func TestFileChangesWhileSent(t *testing.T) {
	host, top := dirs(t)
	name := filepath.Join(host, "f")
	writeMode(t, name, strings.Repeat("x", 1<<20), 0o644)
	writeMode(t, filepath.Join(top, "f"), "before", 0o644)
	p := startPair(t, host, top, false)
	through := p.client.out.W
	touched := false
	p.client.out = frame.NewWriter(writerFunc(func(b []byte) (int, error) {
		if n, err := through.Write(b); err != nil {
			return n, err
		}
		if !touched {
			touched = true
			writeMode(t, name, strings.Repeat("y", 1<<20), 0o644)
		}
		return len(b), through.Flush()
	}))
	if r := p.apply(t, p.put(t, "f"))["f"]; !errors.Is(r.Err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", r.Err)
	}
	checkContent(t, filepath.Join(top, "f"), "before")
	c := p.put(t, "f")
	os.Remove(name)
	if err := os.Symlink("/etc/passwd", name); err != nil {
		t.Fatal(err)
	}
	if r := p.apply(t, c)["f"]; !errors.Is(r.Err, ErrChanged) {
		t.Errorf("a link in place of the file: got %v, want ErrChanged", r.Err)
	}
	checkNoTemporary(t, top)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestChannelEndsEarly checks that nothing is left behind, wherever in a frame the
// channel ends.
func TestChannelEndsEarly(t *testing.T) {
	_, top := dirs(t)
	var in bytes.Buffer
	w := frame.NewWriter(&in)
	e := tree.Entry{Path: "f", Kind: tree.File, Size: 10, Perm: 0o644}
	w.AppendEntry(e)
	w.AppendEntry(tree.Entry{Path: "f"})
	w.Send(frame.KindPut)
	w.AppendRaw([]byte("12345"))
	w.Send(frame.KindData)
	w.Flush()
	for length := range in.Len() {
		err := receive.Serve(receive.Config{Top: top, In: bytes.NewReader(in.Bytes()[:length]), Out: io.Discard})
		if err != nil && !errors.Is(err, frame.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", length, err)
		}
	}
	if err := receive.Serve(receive.Config{Top: top, In: &in, Out: io.Discard}); err != nil {
		t.Errorf("cut between frames: %v", err)
	}
	if entries, _ := os.ReadDir(top); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

// TestScanRemovesTemporaryFiles checks that a scan removes what a killed receiver has
// left, unless the receiver is read-only.
func TestScanRemovesTemporaryFiles(t *testing.T) {
	_, top := dirs(t)
	left := filepath.Join(top, "d", frame.TemporaryPrefix+"17-1")
	writeMode(t, left, "left", 0o600)
	for _, readOnly := range []bool{true, false} {
		m, problems, err := startPair(t, t.TempDir(), top, readOnly).client.Scan()
		if err != nil || len(problems) != 0 {
			t.Errorf("read-only %v: %v, %v", readOnly, problems, err)
		}
		if len(m) != 1 {
			t.Errorf("read-only %v: the scan lists %v, want only d", readOnly, m)
		}
		if _, err := os.Lstat(left); (err == nil) != readOnly {
			t.Errorf("read-only %v: afterwards: %v", readOnly, err)
		}
	}
}

// TestReadOnlyRefusesChanges checks that a read-only receiver ends when it is asked for a
// change.
func TestReadOnlyRefusesChanges(t *testing.T) {
	_, top := dirs(t)
	writeMode(t, filepath.Join(top, "f"), "x", 0o644)
	var in bytes.Buffer
	w := frame.NewWriter(&in)
	w.AppendEntry(tree.Entry{Path: "f", Kind: tree.File, Size: 1})
	w.Send(frame.KindRemove)
	w.Flush()
	err := receive.Serve(receive.Config{Top: top, ReadOnly: true, In: &in, Out: io.Discard})
	if !errors.Is(err, frame.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
	checkContent(t, filepath.Join(top, "f"), "x")
}

// TestConnectReportsRefusal reports why a receiver cannot start.
func TestConnectReportsRefusal(t *testing.T) {
	for _, c := range []struct {
		err  error
		want diag.Code
	}{
		{diag.Errorf(diag.SyncRefused, "it is a link"), diag.SyncRefused},
		{diag.Errorf(diag.SyncBusy, "another"), diag.SyncBusy},
		{diag.Errorf(diag.Usage, "a code that nodes must not use"), diag.SyncFailed},
		{errors.New("no space"), diag.SyncFailed},
	} {
		var b bytes.Buffer
		w := frame.NewWriter(&b)
		w.SendHello(false, c.err)
		w.Flush()
		_, err := Connect(&b, io.Discard, func() {})
		if got := diag.CodeOf(err); got != c.want {
			t.Errorf("%v: got code %v, want %v", c.err, got, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), c.err.Error()) {
			t.Errorf("got %q, want it to contain %q", err, c.err)
		}
	}
}

func TestConnectHangsUpOnMalformedHello(t *testing.T) {
	for text, want := range map[string]diag.Code{"": diag.LinkLost, "\x00\x00\x00\x05Hello": diag.AgentProtocol, "\xff\xff\xff\xff\xff": diag.AgentProtocol} {
		hangUps := 0
		_, err := Connect(strings.NewReader(text), io.Discard, func() { hangUps++ })
		if got := diag.CodeOf(err); got != want {
			t.Errorf("%q: got %v, want code %v", text, err, want)
		}
		if hangUps != 1 {
			t.Errorf("%q: hung up %d times, want once", text, hangUps)
		}
	}
}

// TestTopMoved checks that nothing is written to a directory that was moved away on the
// node, nor to what has replaced it.
func TestTopMoved(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "f"), "first", 0o644)
	p := startPair(t, host, top, false)
	p.apply(t, p.put(t, "f"))
	if err := os.Rename(top, top+".old"); err != nil {
		t.Fatal(err)
	}
	writeMode(t, filepath.Join(top, "f"), "theirs", 0o644)
	writeMode(t, filepath.Join(host, "f"), "second", 0o644)
	if err := p.client.Apply(t.Context(), p.root, []Change{p.put(t, "f")}, func(Change, Result) {}); err == nil {
		t.Fatal("no error")
	}
	checkContent(t, filepath.Join(top, "f"), "theirs")
	checkContent(t, filepath.Join(top+".old", "f"), "first")
	if err := <-p.done; err == nil || !strings.Contains(err.Error(), "another directory is in its place") {
		t.Errorf("the receiver ended with %v, want the reason", err)
	}
	p.done <- nil // for the cleanup
}

// TestScanIsBounded checks that a scan ends if the node names files without end.
func TestScanIsBounded(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		f := frame.NewWriter(w)
		f.SendHello(true, nil)
		name, target := strings.Repeat("d/", 2040), strings.Repeat("t", frame.MaxPath)
		for i, err := 0, error(nil); err == nil; i++ {
			f.AppendEntry(tree.Entry{Path: name + strconv.Itoa(i), Kind: tree.Link, Target: target})
			err = f.Send(frame.KindEntry)
		}
	}()
	c, err := Connect(bufio.NewReader(r), io.Discard, func() { r.Close() })
	if err != nil {
		t.Fatal(err)
	}
	if m, _, err := c.Scan(); !errors.Is(err, frame.ErrMalformed) {
		t.Errorf("after %d entries: got %v, want ErrMalformed", len(m), err)
	}
}
