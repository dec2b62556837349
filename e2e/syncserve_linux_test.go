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

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestServeSyncs has a daemon go on with a copy that sync made, over its own
// connection, whatever becomes of that.
func TestServeSyncs(t *testing.T) {
	f := setup(t)
	dir, to := f.tree(t, "served")
	at := func(name string) string { return filepath.Join(dir, name) }
	proxy, node := f.proxy(t)
	serve := func(args ...string) *server {
		return f.serveNode(t, slices.Concat(node, []string{"--root", dir, "--lease", lease.String()}, args)...)
	}
	sync := func(args ...string) string {
		t.Helper()
		cmd := f.command(t.Context(), userUID, slices.Concat([]string{"sync", dir}, node, args)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("dapbridge sync %q: %v\n%s", args, err, out)
		}
		return string(out)
	}

	s := serve() // nothing was copied yet, nor is it said where to
	if st := f.statusOf(t, 0); st.Sync != nil {
		t.Errorf("%+v", st.Sync)
	}
	s.stop(t)
	if _, err := os.Stat(f.onNode(to)); err == nil {
		t.Fatal("it copied without being asked to")
	}
	sync("--to", to)
	s = serve("--sync", "off")
	if st := f.statusOf(t, 0); st.Sync != nil {
		t.Errorf("%+v", st.Sync)
	}
	s.stop(t)

	theirs(t, at("meanwhile"), "x")
	s = serve()
	f.settles(t, dir, to, "the start")
	theirs(t, at("a/new"), "new")
	f.settles(t, dir, to, "a change")
	eventually(t, 10*time.Second, unless("it does not watch", func() bool {
		c := f.statusOf(t, 0).Sync
		return c != nil && c.Dir == dir && c.To == to && c.State == "watching" && c.Pending == 0 && c.Last != nil && c.Last.Files > 0
	}))
	conns := proxy.Conns()
	if conns != 1 {
		t.Errorf("%d connections to the node", conns)
	}

	// sync has the daemon do it.
	if err := os.WriteFile(f.onNode(to+"/sub/f"), []byte("edited there"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := sync(); !strings.Contains(said, "sub/f was edited on the node") || !strings.Contains(said, "mirrored "+dir+" to "+to) {
		t.Error(said)
	}
	sync("--verify", "--to", to)

	// With --watch it tells of what the daemon does.
	w := f.watchNode(t, node, dir, to)
	served := fmt.Sprintf("dapbridge serve (pid %d) ", s.cmd.Process.Pid)
	says := func(what string) {
		t.Helper()
		eventually(t, 20*time.Second, unless("sync --watch does not say: "+what, func() bool { return strings.Contains(w.said.String(), what) }))
	}
	says(served + "is copying this directory")
	theirs(t, at("a/watched"), "x")
	says("  1 file sent")
	sync() // which has all compared, and nothing is different
	if conns := proxy.Conns(); conns != 1 {
		t.Errorf("%d connections to the node", conns)
	}

	// A session disturbs nothing, and is not disturbed.
	i := s.dial(t)
	if _, err := i.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs(t, at("a/debugged"), "during a session")
	f.settles(t, dir, to, "a change during a session")
	if err := i.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	i.Close()

	// The wire is cut, silent, and gone for a while.
	for n, lose := range []func(){proxy.Cut, proxy.Stall, func() { proxy.CutNew(true); proxy.Cut() }} {
		lose()
		theirs(t, at("a/lost"), strconv.Itoa(n))
		os.RemoveAll(at("sub"))
		if n > 0 {
			eventually(t, 20*time.Second, unless("nothing is said of it", func() bool {
				st := f.statusOf(t, anyExit)
				return len(st.Trouble) > 0 && st.Sync.State == "waiting" && st.Sync.Error != ""
			}))
		}
		if n == 2 {
			says(served + "cannot copy at present: ")
		}
		proxy.Resume()
		proxy.CutNew(false)
		f.settles(t, dir, to, fmt.Sprint("loss ", n))
		theirs(t, at("sub/f"), strconv.Itoa(n))
		f.settles(t, dir, to, fmt.Sprint("a change after loss ", n))
	}
	s.serves(t)

	// Killed in the middle of much, it leaves what the next one makes whole.
	for k := range 300 {
		theirs(t, at(fmt.Sprintf("many/%d/%d", k%10, k)), strings.Repeat(strconv.Itoa(k), 30_000))
	}
	eventually(t, 20*time.Second, unless("nothing comes", func() bool { _, err := os.Stat(f.onNode(to + "/many/1")); return err == nil }))
	s.kill()
	theirs(t, at("many/1/1"), "after the kill")
	says(served + "has stopped copying; sync takes over")
	f.settles(t, dir, to, "a kill")
	w.end(t)
	s = serve()
	theirs(t, at("many/1/2"), "after another start")
	f.settles(t, dir, to, "another start")

	proxy.Stall() // and it ends all the same
	theirs(t, at("a/last"), "x")
	s.stop(t)
	proxy.Resume()
}

// TestServeSyncFails has copying fail for good, or for a while: the daemon starts
// and serves all the same.
func TestServeSyncFails(t *testing.T) {
	f := setupAll(t)
	dir, to := f.tree(t, "failing")
	f.sync(t, 0, dir, "--to", to)
	f.root(t, "chown root: "+to)
	s := f.serve(t, "--root", dir)
	eventually(t, 20*time.Second, unless("nothing is said of it", func() bool {
		st := f.statusOf(t, anyExit)
		return len(st.Trouble) == 1 && st.Sync.State == "stopped" && strings.Contains(st.Sync.Error, "another user")
	}))
	s.serves(t)
	f.root(t, "chown docker: "+to)
	if r, _ := f.sync(t, 0, dir, "--to", to); r.To != to { // not the daemon, which has given up
		t.Errorf("%+v", r)
	}
	s.stop(t)

	w := f.watch(t, dir, to)
	s = f.serve(t, "--root", dir, "--sync", "on")
	eventually(t, 20*time.Second, unless("nothing is said of the other one", func() bool {
		c := f.statusOf(t, anyExit).Sync
		return c != nil && c.State == "waiting" && strings.Contains(c.Error, "another dapbridge sync")
	}))
	w.end(t)
	theirs(t, filepath.Join(dir, "later"), "x")
	f.settles(t, dir, to, "the other one's end")
	s.stop(t)

	cmd := f.command(context.Background(), userUID, slices.Concat([]string{"serve", "--listen", "127.0.0.1:0", "--root", f.source, "--sync", "sometimes"}, f.nodeArgs())...)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "--sync sometimes") {
		t.Errorf("%v: %s", err, out)
	}
}
