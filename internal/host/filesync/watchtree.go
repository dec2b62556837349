package filesync

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// watchTree watches a directory and everything below it, and calls found for each
// entry. A directory is watched before its rules and entries are read, so that no
// change is missed. It fails if the directory's own rules cannot be read.
func (w *Watcher) watchTree(dir string, rules rulesLoader, found func(path string)) error {
	if !w.watchDir(dir) {
		return nil
	}
	ignore, err := rules()
	if err != nil {
		return err
	}
	w.dirs[dir] = ignore
	entries, err := os.ReadDir(w.abs(dir))
	if err != nil {
		w.cfg.Log.Debug("watching files", "err", err)
		return nil // unless it has vanished, the comparison reports it
	}
	for _, e := range entries {
		if ignore.Match(e.Name(), e.IsDir()) {
			continue
		}
		child := tree.Join(dir, e.Name())
		found(child)
		if !e.IsDir() {
			continue
		}
		w.watchSubtree(child, ignore, found)
	}
	return nil
}

// watchSubtree is watchTree for a directory whose parent has the given rules. If its
// own rules cannot be read, it is not watched until they can; the comparison reports
// the reason.
func (w *Watcher) watchSubtree(dir string, parent *Ignore, found func(path string)) {
	rules := func() (*Ignore, error) { return parent.Enter(path.Base(dir)) }
	if err := w.watchTree(dir, rules, found); err != nil {
		w.cfg.Log.Debug("watching files", "err", err)
		w.unread[dir] = rules
		w.RequestFullScan(err.Error())
	}
}

// watchDir watches one directory and reports whether its entries should be read.
func (w *Watcher) watchDir(dir string) bool {
	err := w.notify.Add(w.abs(dir))
	switch {
	case err == nil:
		return true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false // its removal causes an event; without permission it cannot be copied
	}
	if !w.partial {
		w.partial = true
		w.cfg.Log.Warn("not all directories can be watched: running full scans at intervals instead",
			"interval", w.cfg.Interval, "err", err, "remedy", watchRemedy(err))
	}
	return true
}

func (w *Watcher) abs(path string) string {
	return filepath.Join(w.cfg.Dir, filepath.FromSlash(path))
}

func (w *Watcher) handleEvent(e fsnotify.Event) {
	if e.Name == w.cfg.Dir {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
			w.noteMissing()
		}
		return
	}
	rel, ok := strings.CutPrefix(e.Name, filepath.Clean(w.cfg.Dir+string(filepath.Separator)))
	if !ok {
		return
	}
	p := strings.TrimPrefix(filepath.ToSlash(rel), "/")
	dir, name := path.Split(p)
	ignore := w.dirs[strings.TrimSuffix(dir, "/")]
	if ignore == nil {
		return // the directory is no longer watched
	}
	if name == gitIgnore || name == dapbridgeIgnore {
		w.rewatch("the rules in " + p + " have changed")
		return
	}
	appeared, vanished := e.Has(fsnotify.Create), e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
	wasDir := w.dirs[p] != nil
	if !wasDir && e.Has(fsnotify.Chmod) { // perhaps of a directory that could not be entered before
		info, err := os.Lstat(w.abs(p))
		appeared = appeared || err == nil && info.IsDir()
	}
	if wasDir && (appeared || vanished) {
		w.unwatchTree(p)
		w.dirMoved = true
	}
	isDir := wasDir
	if appeared || vanished {
		info, err := os.Lstat(w.abs(p))
		isDir = err == nil && info.IsDir()
	}
	ignored := ignore.Match(name, isDir)
	switch {
	case !ignored:
		w.noteChange(p)
	case wasDir, (appeared || vanished) && !isNeverCopied(name, isDir) && !ignore.Match(name, !isDir):
		w.note(p, true)
	}
	if isDir && (appeared || vanished) && !ignored {
		w.watchSubtree(p, ignore, w.noteChange)
	}
}

// unwatchTree stops watching a directory and everything below it.
func (w *Watcher) unwatchTree(dir string) {
	for d := range w.dirs {
		if isUnder(d, dir) {
			_ = w.notify.Remove(w.abs(d)) // fails for a directory that is gone
			delete(w.dirs, d)
		}
	}
	maps.DeleteFunc(w.unread, func(d string, _ rulesLoader) bool { return isUnder(d, dir) })
}

// repairDelay is the time between the move or removal of a directory and the check of
// all watches.
const repairDelay = 250 * time.Millisecond

// repairWatches makes the set of watches equal to w.dirs. A directory that was moved
// while watchTree read it may be watched under its old name: inotify does not know names.
func (w *Watcher) repairWatches() {
	missing := map[string]bool{}
	for d := range w.dirs {
		missing[w.abs(d)] = true
	}
	for _, watched := range w.notify.WatchList() {
		if !missing[watched] {
			_ = w.notify.Remove(watched)
		}
		delete(missing, watched)
	}
	if len(missing) > 0 && !w.partial {
		w.rewatch("directories were moved while they were read")
	}
}
