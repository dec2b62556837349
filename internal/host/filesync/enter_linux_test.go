package filesync

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// TestEnter has a directory's rules change when they have just been read: it is
// watched by then.
func TestEnter(t *testing.T) {
	dir := t.TempDir()
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	w := &Watcher{cfg: WatchConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)}, notify: notify, dirs: map[string]*Ignore{}}
	rules := filepath.Join(dir, gitIgnore)
	err = w.watchTree("", func() (*Ignore, error) {
		ignore, err := LoadIgnore(dir)
		if err == nil {
			err = os.WriteFile(rules, []byte("*.o\n"), 0o644)
		}
		return ignore, err
	}, func(string) {})
	if err != nil || w.dirs[""] == nil {
		t.Fatal(w.dirs, err)
	}
	select {
	case e := <-notify.Events:
		if e.Name != rules {
			t.Error(e)
		}
	case <-time.After(5 * time.Second):
		t.Error("nobody is told of the new rules")
	}
}

// TestOurs tells problems of what is copied from those of what else stands on the node.
func TestOurs(t *testing.T) {
	record, err := OpenRecord(filepath.Join(t.TempDir(), "record"), Copy{})
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	x := tree.Entry{Path: "put/x", Kind: tree.File}
	if err := record.Set("put/x", RecordEntry{Now: x, Sent: x}); err != nil {
		t.Fatal(err)
	}
	host := tree.Manifest{{Path: "d", Kind: tree.Dir}, {Path: "d/f", Kind: tree.File}}
	var problems []tree.Problem
	for _, p := range []string{"d", "of-root", "put", "d/of-root", "pu"} {
		problems = append(problems, tree.Problem{Path: p, Err: os.ErrPermission})
	}
	var got []string
	for _, p := range relevantProblems(problems, host, record) {
		got = append(got, p.Path)
	}
	if !slices.Equal(got, []string{"d", "put"}) {
		t.Errorf("ours are %q", got)
	}
}

// TestPending remembers no paths while all is to be compared anyway.
func TestPending(t *testing.T) {
	w := &Watcher{paths: map[string]bool{}, wake: make(chan struct{}, 1)}
	w.noteChange("before")
	w.RequestFullScan("the node is away")
	w.noteChange("after")
	if paths, all := w.Pending(); paths != 0 || !all {
		t.Errorf("%d paths, all %v", paths, all)
	}
	w.take()
	w.noteChange("then")
	if paths, all := w.Pending(); paths != 1 || all {
		t.Errorf("then %d paths, all %v", paths, all)
	}
}
