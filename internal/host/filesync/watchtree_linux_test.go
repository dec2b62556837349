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

// TestWatchTreeSeesNewRules changes a directory's rules right after they were read: the
// directory is watched by then.
func TestWatchTreeSeesNewRules(t *testing.T) {
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
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-notify.Events:
		if e.Name != rules {
			t.Errorf("got %v, want an event of %s", e, rules)
		}
	case <-time.After(5 * time.Second):
		t.Error("no event for the new rules")
	}
}

// TestRelevantProblems checks that problems of what was not copied are dropped.
func TestRelevantProblems(t *testing.T) {
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
		t.Errorf("relevant: %q, want d and put", got)
	}
}
