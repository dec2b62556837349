package filesync

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
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
	w := &Watcher{cfg: WatchConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)}, fs: notify, dirs: map[string]*Ignore{}}
	rules := filepath.Join(dir, gitIgnore)
	err = w.enter("", func() (*Ignore, error) {
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
