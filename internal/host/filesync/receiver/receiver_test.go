package receiver

import (
	"bufio"
	"bytes"
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

// pair is a host's tree, and a receiver that writes to another.
type pair struct {
	client *Client
	host   string
	top    string
	root   *os.Root // the host's
	cut    func()
	ended  chan error
}

// link starts a receiver. Its directory is one of several in a temporary one, so
// that it can be seen that it writes to no other.
func link(t testing.TB, host, top string, look bool) *pair {
	t.Helper()
	toNode, toHost := newPipe(t), newPipe(t)
	p := &pair{host: host, top: top, ended: make(chan error, 1)}
	p.cut = func() { toNode.w.Close(); toHost.r.Close() }
	go func() {
		defer toHost.w.Close()
		p.ended <- receive.Serve(receive.Config{Top: top, ReadOnly: look, Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), In: toNode.r, Out: toHost.w})
	}()
	var err error
	if p.client, err = Connect(toHost.r, toNode.w, p.cut); err != nil {
		t.Fatal(err)
	}
	if p.root, err = os.OpenRoot(host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.root.Close()
		p.cut()
		if err := <-p.ended; err != nil {
			t.Errorf("the receiver ended with %v", err)
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

// dirs returns two directories beside a third.
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

// content returns what is in a file, or "not there".
func content(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		return "not there"
	}
	return string(text)
}

// apply makes changes and returns what has become of each, by its path.
func (p *pair) apply(t testing.TB, changes ...Change) map[string]Result {
	t.Helper()
	all := map[string]Result{}
	if err := p.client.Apply(t.Context(), p.root, changes, func(c Change, r Result) { all[c.Want.Path] = r }); err != nil {
		t.Fatal(err)
	}
	return all
}

// put is the change that makes what stands at a path of the host stand there.
func (p *pair) put(t testing.TB, path string) Change {
	t.Helper()
	e, err := tree.Lstat(p.root, path)
	if err != nil {
		t.Fatal(err)
	}
	return Change{Want: e}
}

// nothingLeft sees that no temporary file is below dir.
func nothingLeft(t testing.TB, dir string) {
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
	large := strings.Repeat("0123456789abcdef", 200_000)
	for name, perm := range map[string]os.FileMode{"d/small": 0o640, "d/program": 0o755, "empty": 0o444} {
		writeMode(t, filepath.Join(host, name), strings.TrimPrefix(name, "empty"), perm)
	}
	writeMode(t, filepath.Join(host, "d/large"), large, 0o600)
	if err := os.Symlink("../elsewhere", filepath.Join(host, "d/l")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(host, "d"), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(host, "d"), 0o755); os.Chmod(filepath.Join(top, "d"), 0o755) })
	p := link(t, host, top, false)
	paths := []string{"d", "d/large", "d/program", "d/small", "d/l", "empty"}
	var changes []Change
	for _, path := range paths {
		changes = append(changes, p.put(t, path))
	}
	for path, r := range p.apply(t, changes...) {
		if r.Err != nil || r.Kept != "" {
			t.Errorf("%s: %v, kept %q", path, r.Err, r.Kept)
		}
	}
	there, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	for _, path := range paths {
		want, _ := tree.Lstat(p.root, path)
		if got, err := tree.Lstat(there, path); got != want {
			t.Errorf("%+v, want %+v: %v", got, want, err)
		}
		if want.Kind == tree.File && content(t, filepath.Join(top, path)) != content(t, filepath.Join(host, path)) {
			t.Errorf("%s holds something else", path)
		}
	}
	nothingLeft(t, top)

	m, problems, err := p.client.Scan()
	if err != nil || len(problems) != 0 || len(m) != len(paths) {
		t.Fatalf("%v, %v, %v", m, problems, err)
	}
	// One kind in the place of another, as the host knows it to be.
	for _, path := range []string{"d/small", "empty"} {
		e, _ := m.Find(path)
		os.Chmod(filepath.Join(host, "d"), 0o755)
		os.Remove(filepath.Join(host, path))
		if err := os.Mkdir(filepath.Join(host, path), 0o755); err != nil {
			t.Fatal(err)
		}
		c := p.put(t, path)
		c.Expected = e
		if r := p.apply(t, c)[path]; r.Err != nil || r.Kept != "" || r.Now.Kind != tree.Dir {
			t.Errorf("a directory for a file: %+v", r)
		}
		os.Remove(filepath.Join(host, path))
		writeMode(t, filepath.Join(host, path), "again", 0o644)
		c = p.put(t, path)
		if r := p.apply(t, c)[path]; r.Err != nil || r.Kept != "" || content(t, filepath.Join(top, path)) != "again" {
			t.Errorf("a file for a directory: %+v", r)
		}
	}
	sums := map[string]string{}
	if err := p.client.HashFiles([]string{"empty", "d", "nothing"}, func(path string, sum []byte, err error) {
		sums[path] = string(sum)
		if (err == nil) != (path == "empty") {
			t.Errorf("sum of %s: %v", path, err)
		}
	}); err != nil || len(sums["empty"]) != 32 || sums["d"] != "" {
		t.Errorf("sums %q, %v", sums, err)
	}
}

// TestKeep loses nothing that was changed on the node.
func TestKeep(t *testing.T) {
	host, top := dirs(t)
	for _, name := range []string{"edited", "same", "new", "gone", "dir"} {
		writeMode(t, filepath.Join(host, name), "host's", 0o644)
	}
	p := link(t, host, top, false)
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
		if got := content(t, filepath.Join(kept, name)); got != want {
			t.Errorf("%s: kept %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"edited", "gone", "dir"} {
		if r := results[name]; r.Err != nil || r.Kept != filepath.Join(kept, name) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, name := range []string{"same", "new", "never"} {
		if r := results[name]; r.Err != nil || r.Kept != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, name := range []string{"edited", "same", "new", "dir"} {
		if got := content(t, filepath.Join(top, name)); got != "host's" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	if _, err := os.Lstat(filepath.Join(top, "gone")); err == nil {
		t.Error("what the host has removed is there")
	}
	// Once more in the same second: the first is not overwritten.
	writeMode(t, filepath.Join(top, "edited"), "edited again", 0o644)
	if r := p.apply(t, change("edited"))["edited"]; content(t, r.Kept) != "edited again" || content(t, filepath.Join(kept, "edited")) != "edited there" {
		t.Errorf("%+v", r)
	}
}

func TestRemove(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "d/f"), "x", 0o644)
	writeMode(t, filepath.Join(host, "e/f"), "x", 0o644)
	p := link(t, host, top, false)
	there := p.apply(t, p.put(t, "d"), p.put(t, "d/f"), p.put(t, "e"), p.put(t, "e/f"))
	writeMode(t, filepath.Join(top, "e/theirs"), "theirs", 0o644)
	var changes []Change
	for _, path := range []string{"e/f", "e", "d/f", "d"} {
		changes = append(changes, Change{Want: tree.Entry{Path: path}, Expected: there[path].Now})
	}
	for path, r := range p.apply(t, changes...) {
		if r.Err != nil || r.Kept != "" {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if _, err := os.Lstat(filepath.Join(top, "d")); err == nil {
		t.Error("the directory is there")
	}
	if content(t, filepath.Join(top, "e/theirs")) != "theirs" || content(t, filepath.Join(top, "e/f")) != "not there" {
		t.Error("of a directory that holds something of the node's, that is not what is left")
	}
}

// TestLinksOnTheNode writes to no place that a symbolic link leads to.
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
	p := link(t, host, top, false)
	results := p.apply(t, p.put(t, "out/f"), p.put(t, "in/f"), p.put(t, "f"))
	for path, r := range results {
		if (r.Err == nil) != (path == "f") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	// What is to be removed does not stand there: where a link leads is another place.
	for path, r := range p.apply(t, Change{Want: tree.Entry{Path: "out/f"}}, Change{Want: tree.Entry{Path: "in/f"}}) {
		if r.Err != nil || r.Kept != "" {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if content(t, filepath.Join(outside, "f")) != "outside" || content(t, filepath.Join(top, "real/f")) != "inside" {
		t.Error("something else was written")
	}
	if got := content(t, filepath.Join(top, "f")); got != "host's" {
		t.Errorf("the link is still there: %q", got)
	}
	if target, _ := os.Readlink(results["f"].Kept); target != filepath.Join(outside, "f") {
		t.Errorf("the link was not kept: %+v", results["f"])
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Error("there is more outside")
	}
	if err := p.client.HashFiles([]string{"out/f", "f"}, func(path string, sum []byte, err error) {
		if (err == nil) != (path == "f") {
			t.Errorf("sum of %s: %x, %v", path, sum, err)
		}
	}); err != nil {
		t.Error(err)
	}
}

// TestChangedMeanwhile takes nothing for whole that has changed under way.
func TestChangedMeanwhile(t *testing.T) {
	host, top := dirs(t)
	name := filepath.Join(host, "f")
	writeMode(t, name, strings.Repeat("x", 1<<20), 0o644)
	writeMode(t, filepath.Join(top, "f"), "before", 0o644)
	p := link(t, host, top, false)
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
	r := p.apply(t, p.put(t, "f"))["f"]
	if !errors.Is(r.Err, ErrChanged) || content(t, filepath.Join(top, "f")) != "before" {
		t.Errorf("%v", r.Err)
	}
	c := p.put(t, "f")
	os.Remove(name)
	if err := os.Symlink("/etc/passwd", name); err != nil {
		t.Fatal(err)
	}
	if r := p.apply(t, c)["f"]; !errors.Is(r.Err, ErrChanged) {
		t.Errorf("a link in the place of a file: %v", r.Err)
	}
	nothingLeft(t, top)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestCut leaves nothing when the channel ends in the middle, and clears away what
// a killed receiver has left.
func TestCut(t *testing.T) {
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
	for cut := range in.Len() {
		err := receive.Serve(receive.Config{Top: top, In: bytes.NewReader(in.Bytes()[:cut]), Out: io.Discard})
		if err != nil && !errors.Is(err, frame.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
	if err := receive.Serve(receive.Config{Top: top, In: &in, Out: io.Discard}); err != nil {
		t.Errorf("cut between frames: %v", err)
	}
	if entries, _ := os.ReadDir(top); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}

	writeMode(t, filepath.Join(top, "d", frame.TemporaryPrefix+"17-1"), "left", 0o600)
	for _, look := range []bool{true, false} {
		p := link(t, t.TempDir(), top, look)
		m, problems, err := p.client.Scan()
		if err != nil || len(problems) != 0 || len(m) != 1 {
			t.Errorf("%v, %v, %v", m, problems, err)
		}
		if _, err := os.Lstat(filepath.Join(top, "d", frame.TemporaryPrefix+"17-1")); (err == nil) != look {
			t.Errorf("looking only: %v, then: %v", look, err)
		}
	}
}

// TestLookOnly ends a receiver that is asked for more than it was started for.
func TestLookOnly(t *testing.T) {
	_, top := dirs(t)
	writeMode(t, filepath.Join(top, "f"), "x", 0o644)
	var in bytes.Buffer
	w := frame.NewWriter(&in)
	w.AppendEntry(tree.Entry{Path: "f", Kind: tree.File, Size: 1})
	w.Send(frame.KindRemove)
	w.Flush()
	if err := receive.Serve(receive.Config{Top: top, ReadOnly: true, In: &in, Out: io.Discard}); !errors.Is(err, frame.ErrMalformed) || content(t, filepath.Join(top, "f")) != "x" {
		t.Errorf("%v", err)
	}
}

// TestHello tells why a receiver can't begin.
func TestHello(t *testing.T) {
	for _, c := range []struct {
		err  error
		want diag.Code
	}{
		{diag.Errorf(diag.SyncRefused, "it is a link"), diag.SyncRefused},
		{diag.Errorf(diag.SyncBusy, "another"), diag.SyncBusy},
		{diag.Errorf(diag.Usage, "what a node may not say"), diag.SyncFailed},
		{errors.New("no space"), diag.SyncFailed},
	} {
		var b bytes.Buffer
		w := frame.NewWriter(&b)
		w.SendHello(false, c.err)
		w.Flush()
		if _, err := Connect(&b, io.Discard, func() {}); diag.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.err.Error()) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
	cuts := 0
	for text, want := range map[string]diag.Code{"": diag.LinkLost, "\x00\x00\x00\x05Hello": diag.AgentProtocol, "\xff\xff\xff\xff\xff": diag.AgentProtocol} {
		if _, err := Connect(strings.NewReader(text), io.Discard, func() { cuts++ }); diag.CodeOf(err) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if cuts != 3 {
		t.Error("the channel was not ended")
	}
}

// TestTopMoved writes nothing to a directory that was moved away on the node, and
// nothing to what stands in its place.
func TestTopMoved(t *testing.T) {
	host, top := dirs(t)
	writeMode(t, filepath.Join(host, "f"), "first", 0o644)
	p := link(t, host, top, false)
	p.apply(t, p.put(t, "f"))
	if err := os.Rename(top, top+".old"); err != nil {
		t.Fatal(err)
	}
	writeMode(t, filepath.Join(top, "f"), "theirs", 0o644)
	writeMode(t, filepath.Join(host, "f"), "second", 0o644)
	if err := p.client.Apply(t.Context(), p.root, []Change{p.put(t, "f")}, func(Change, Result) {}); err == nil {
		t.Fatal("nothing is said")
	}
	if a, b := content(t, filepath.Join(top, "f")), content(t, filepath.Join(top+".old", "f")); a != "theirs" || b != "first" {
		t.Errorf("it holds %q, the moved one %q", a, b)
	}
	if err := <-p.ended; err == nil || !strings.Contains(err.Error(), "another directory is in its place") {
		t.Errorf("the receiver ended with %v", err)
	}
	p.ended <- nil // for the end of the test
}

// TestScanBound has a node name files as long as it may, without an end.
func TestScanBound(t *testing.T) {
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
		t.Errorf("%d entries, %v", len(m), err)
	}
}
