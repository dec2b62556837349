package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestServeSyncs has a serve continue the copying that sync has begun, over its own
// connection, whatever happens to that.
func TestServeSyncs(t *testing.T) {
	c := newServedCopy(t)
	c.copiesOnlyWhenAsked()

	writeAsUser(t, c.at("meanwhile"), "x")
	c.s = c.serve()
	c.checkFollowing()
	w := c.syncByServe()
	c.copiesDuringSession()
	for n, lose := range []func(){c.proxy.Cut, c.proxy.Stall, func() { c.proxy.CutNew(true); c.proxy.Cut() }} {
		c.outlives(n, lose)
		if n == 2 {
			c.waitForLine(w, "cannot copy at present: ")
		}
		c.recovers(n)
	}
	c.s.checkServes(t)
	c.resumesAfterKill(w)

	c.proxy.Stall() // a silent connection does not keep it from ending
	writeAsUser(t, c.at("a/last"), "x")
	c.s.stop(t)
	c.proxy.Resume()
}

// servedCopy is a directory that a serve copies to the node, through a proxy.
type servedCopy struct {
	*fixture
	t       *testing.T
	dir, to string
	proxy   *testbed.Proxy
	node    []string // arguments that name the node
	s       *server
}

func newServedCopy(t *testing.T) *servedCopy {
	f := setup(t)
	c := &servedCopy{fixture: f, t: t}
	c.dir, c.to = f.tree(t, "served")
	c.proxy, c.node = f.proxy(t)
	return c
}

// at returns the path of a file in the directory.
func (c *servedCopy) at(name string) string { return filepath.Join(c.dir, name) }

func (c *servedCopy) serve(args ...string) *server {
	c.t.Helper()
	return c.serveNode(c.t, slices.Concat(c.node, []string{"--root", c.dir, "--lease", lease.String()}, args)...)
}

// sync runs dapbridge sync and returns its output.
func (c *servedCopy) sync(args ...string) string {
	c.t.Helper()
	out, err := c.command(c.t.Context(), userUID, slices.Concat([]string{"sync", c.dir}, c.node, args)...).CombinedOutput()
	if err != nil {
		c.t.Errorf("dapbridge sync %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// oneConnection fails the test unless the serve's connection is soon the only one to the
// node. That of a sync that has just ended may still be closing.
func (c *servedCopy) oneConnection() {
	c.t.Helper()
	eventually(c.t, 5*time.Second, func() string {
		if n := c.proxy.Conns(); n != 1 {
			return fmt.Sprintf("%d connections to the node, want 1", n)
		}
		return ""
	})
}

// waitForLine waits until a sync --watch reports something of the serve.
func (c *servedCopy) waitForLine(w *watcher, text string) {
	c.t.Helper()
	line := fmt.Sprintf("dapbridge serve (pid %d) %s", c.s.cmd.Process.Pid, text)
	eventually(c.t, 20*time.Second, unless("sync --watch does not print: "+line, func() bool { return strings.Contains(w.said.String(), line) }))
}

// copiesOnlyWhenAsked starts a serve before anything was copied, and one with --sync off.
func (c *servedCopy) copiesOnlyWhenAsked() {
	t := c.t
	t.Helper()
	c.servesWithoutCopying()
	if _, err := os.Stat(c.onNode(c.to)); err == nil {
		t.Fatal("it copied without being asked to")
	}
	c.sync("--to", c.to)
	c.servesWithoutCopying("--sync", "off")
}

func (c *servedCopy) servesWithoutCopying(args ...string) {
	c.t.Helper()
	s := c.serve(args...)
	if st := c.statusOf(c.t, 0); st.Sync != nil {
		c.t.Errorf("serve %q copies: %+v", args, st.Sync)
	}
	s.stop(c.t)
}

// checkFollowing checks that what changed before the start is copied, and then each
// change.
func (c *servedCopy) checkFollowing() {
	t := c.t
	t.Helper()
	c.waitEqual(t, c.dir, c.to, "the start")
	writeAsUser(t, c.at("a/new"), "new")
	c.waitEqual(t, c.dir, c.to, "a change")
	eventually(t, 10*time.Second, func() string {
		switch st := c.statusOf(t, 0).Sync; {
		case st == nil:
			return "it does not copy"
		case st.Dir != c.dir || st.To != c.to:
			return fmt.Sprintf("it copies %s to %s, want %s to %s", st.Dir, st.To, c.dir, c.to)
		case st.State != "watching" || st.Pending != 0:
			return fmt.Sprintf("it is %s with %d changes pending", st.State, st.Pending)
		case st.Last == nil || st.Last.Files == 0:
			return "it has copied nothing"
		}
		return ""
	})
	c.oneConnection()
}

// syncByServe has sync and sync --watch leave the work to the serve that does it
// already, and returns the latter.
func (c *servedCopy) syncByServe() *watcher {
	t := c.t
	t.Helper()
	if err := os.WriteFile(c.onNode(c.to+"/sub/f"), []byte("edited there"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := c.sync()
	for _, want := range []string{"sub/f was edited on the node", "mirrored " + c.dir + " to " + c.to} {
		if !strings.Contains(out, want) {
			t.Errorf("sync does not print %q but %s", want, out)
		}
	}
	c.sync("--verify", "--to", c.to)

	w := c.watchNode(t, c.node, c.dir, c.to)
	c.waitForLine(w, "is copying this directory")
	writeAsUser(t, c.at("a/watched"), "x")
	eventually(t, 20*time.Second, unless("sync --watch does not report the copy", func() bool { return strings.Contains(w.said.String(), "  1 file sent") }))
	c.sync() // a full scan that finds no difference
	c.oneConnection()
	return w
}

// copiesDuringSession has a session and the copying leave each other alone.
func (c *servedCopy) copiesDuringSession() {
	t := c.t
	t.Helper()
	ide := c.s.dial(t)
	if _, err := ide.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	writeAsUser(t, c.at("a/debugged"), "during a session")
	c.waitEqual(t, c.dir, c.to, "a change during a session")
	if err := ide.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	ide.Close()
}

// outlives loses the connection and changes files. All but the first loss last.
func (c *servedCopy) outlives(n int, lose func()) {
	t := c.t
	t.Helper()
	lose()
	writeAsUser(t, c.at("a/lost"), strconv.Itoa(n))
	os.RemoveAll(c.at("sub"))
	if n == 0 {
		return
	}
	eventually(t, 20*time.Second, unless("the status does not show the loss", func() bool {
		st := c.statusOf(t, anyExit)
		return len(st.Trouble) > 0 && st.Sync.State == "waiting" && st.Sync.Error != ""
	}))
}

// recovers restores the connection.
func (c *servedCopy) recovers(n int) {
	t := c.t
	t.Helper()
	c.proxy.Resume()
	c.proxy.CutNew(false)
	c.waitEqual(t, c.dir, c.to, fmt.Sprint("loss ", n))
	writeAsUser(t, c.at("sub/f"), strconv.Itoa(n))
	c.waitEqual(t, c.dir, c.to, fmt.Sprint("a change after loss ", n))
}

// resumesAfterKill kills the serve while it copies many files. First sync --watch and
// then another serve complete the copy.
func (c *servedCopy) resumesAfterKill(w *watcher) {
	t := c.t
	t.Helper()
	for k := range 300 {
		writeAsUser(t, c.at(fmt.Sprintf("many/%d/%d", k%10, k)), strings.Repeat(strconv.Itoa(k), 30_000))
	}
	eventually(t, 20*time.Second, unless("nothing is copied", func() bool { _, err := os.Stat(c.onNode(c.to + "/many/1")); return err == nil }))
	c.s.kill()
	writeAsUser(t, c.at("many/1/1"), "after the kill")
	c.waitForLine(w, "has stopped copying; sync takes over")
	c.waitEqual(t, c.dir, c.to, "a kill")
	w.end(t)
	c.s = c.serve()
	writeAsUser(t, c.at("many/1/2"), "after another start")
	c.waitEqual(t, c.dir, c.to, "another start")
}

// TestServeSyncFails makes the copying fail for good, or for a while: the daemon starts
// and serves sessions in any case.
func TestServeSyncFails(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "failing")
	f.sync(t, 0, dir, "--to", to)
	f.root(t, "chown root: "+to)
	s := f.serve(t, "--root", dir)
	eventually(t, 20*time.Second, unless("the status does not report it", func() bool {
		st := f.statusOf(t, anyExit)
		return len(st.Trouble) == 1 && st.Sync.State == "stopped" && strings.Contains(st.Sync.Error, "another user")
	}))
	s.checkServes(t)
	f.root(t, "chown docker: "+to)
	if r, _ := f.sync(t, 0, dir, "--to", to); r.To != to { // not the daemon, which has given up
		t.Errorf("%+v", r)
	}
	s.stop(t)

	w := f.watch(t, dir, to)
	s = f.serve(t, "--root", dir, "--sync", "on")
	eventually(t, 20*time.Second, unless("the status does not report the other daemon", func() bool {
		c := f.statusOf(t, anyExit).Sync
		return c != nil && c.State == "waiting" && strings.Contains(c.Error, "another dapbridge sync")
	}))
	w.end(t)
	writeAsUser(t, filepath.Join(dir, "later"), "x")
	f.waitEqual(t, dir, to, "the other one's end")
	s.stop(t)

	cmd := f.command(context.Background(), userUID, slices.Concat([]string{"serve", "--listen", "127.0.0.1:0", "--root", f.source, "--sync", "sometimes"}, f.nodeArgs())...)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "--sync sometimes") {
		t.Errorf("%v: %s", err, out)
	}
}
