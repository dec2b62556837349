package filesync

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// WatchConfig says what a Watcher does. The zero values of the times are for
// people who save files.
type WatchConfig struct {
	Dir     string        // the tree's top directory
	Quiet   time.Duration // how long nothing must happen before a batch is whole; 0 is 3 ms
	MaxWait time.Duration // how long a batch waits for that at most; 0 is 200 ms
	// Every is how often it is seen whether Dir is the one that is watched and the
	// rules outside of it are those that were read, and how often all counts as changed
	// if not all can be watched; 0 is 10 s.
	Interval time.Duration
	Log      *slog.Logger // nil logs nothing
}

// Watcher tells what changes in a tree, as far as it is copied. Nothing is
// missed silently: what can't be told leads to a Batch that says Why. Rules that
// stand outside of the tree, and git's info/exclude, are looked at every so often.
type Watcher struct {
	cfg    WatchConfig
	notify *fsnotify.Watcher
	errs   chan error // fsnotify's; closed when it is
	stop   context.CancelFunc
	done   chan struct{}

	// Owned by the goroutine that runs.
	dirs         map[string]*Ignore     // the directories that are watched
	unread       map[string]rulesLoader // those that are not, since their rules could not be read
	top          fs.FileInfo            // what dirs[""] is; nil while it is not there
	lastWarning  string                 // why it is not, as the log has it
	outsideStamp string                 // outsideRules
	partial      bool                   // not all directories could be watched
	dirMoved     bool                   // a directory was moved or removed in the last event

	mu      sync.Mutex
	pending Batch
	paths   map[string]bool // whether Batch.Ignored has it
	first   time.Time       // of what is pending
	last    time.Time
	wake    chan struct{} // holds one when something is pending
}

// rulesLoader reads a directory's rules.
type rulesLoader func() (*Ignore, error)

// Watch begins to watch. The first batch says that everything is to be compared.
func Watch(cfg WatchConfig) (*Watcher, error) {
	cfg.Quiet = orDefault(cfg.Quiet, 3*time.Millisecond)
	cfg.MaxWait = orDefault(cfg.MaxWait, 200*time.Millisecond)
	cfg.Interval = orDefault(cfg.Interval, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, diag.Errorf(diag.WatchFailed, "changes of files can't be watched: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Watcher{
		cfg: cfg, notify: notify, errs: make(chan error, 1), stop: stop, done: make(chan struct{}),
		paths: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	go w.drainErrors()
	if err := w.restart("watching has begun"); err != nil {
		stop()
		notify.Close()
		return nil, err
	}
	go func() {
		defer close(w.done)
		w.run(ctx)
	}()
	return w, nil
}

func orDefault(d, value time.Duration) time.Duration {
	if d == 0 {
		return value
	}
	return d
}

// Close ends the watching and returns when its goroutines are gone.
func (w *Watcher) Close() error {
	w.stop()
	<-w.done
	err := w.notify.Close()
	for range w.errs { // until takeErrors has ended
	}
	return err
}

// drainErrors takes fsnotify's errors until it is closed: it holds its lock until
// somebody does, and run may be waiting for that lock. One that waits for run
// stands for all. That a watch was gone when it was to be removed is none, as its
// directory has been moved and removed (inotify_rm_watch(2), EINVAL).
func (w *Watcher) drainErrors() {
	defer close(w.errs)
	for err := range w.notify.Errors {
		if errors.Is(err, syscall.EINVAL) {
			continue
		}
		select {
		case w.errs <- err:
		default:
		}
	}
}

func (w *Watcher) run(ctx context.Context) {
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-w.notify.Events:
			w.handleEvent(event)
		case err := <-w.errs:
			w.cfg.Log.Debug("watching files", "err", err)
			w.rewatch("the kernel has reported more changes than could be read: " + err.Error())
		case <-tick.C:
			w.poll()
		case <-settled.C:
			w.repairWatches()
		}
		if w.dirMoved {
			w.dirMoved = false
			settled.Reset(repairDelay)
		}
	}
}

// repairDelay is how long after a directory was moved or removed it is seen
// whether all are watched.
const repairDelay = 250 * time.Millisecond

// poll sees what no event tells.
func (w *Watcher) poll() {
	info, err := os.Stat(w.cfg.Dir)
	switch {
	case err != nil || !info.IsDir():
		w.noteMissing()
	case w.top == nil:
		w.rewatch("the directory is there again")
	case !os.SameFile(info, w.top):
		w.rewatch("the directory is another one")
	case w.outsideStamp != stampOutsideRules(w.cfg.Dir):
		w.rewatch("the rules outside of the directory have changed")
	case w.partial:
		w.RequestFullScan("not all directories can be watched")
	default:
		for dir, load := range w.unread {
			if _, err := load(); err == nil {
				w.rewatch("the rules of " + dir + " can be read again")
				return
			}
		}
	}
}

// noteMissing says that the tree is not there. That is no change to be copied: it
// is moved, or not mounted.
func (w *Watcher) noteMissing() {
	if w.top != nil {
		w.cfg.Log.Warn("the directory is not there: nothing is copied until it is", "dir", w.cfg.Dir)
		w.top = nil
	}
}

// rewatch watches the whole tree anew. If that is not possible, the next tick tries.
func (w *Watcher) rewatch(why string) {
	err := w.restart(why)
	if err == nil {
		w.lastWarning = ""
		return
	}
	w.top = nil
	if text := err.Error(); text != w.lastWarning {
		w.lastWarning = text
		w.cfg.Log.Warn("nothing is copied until the directory can be watched", "dir", w.cfg.Dir, "err", err)
	}
}

// restart watches the directories that are to be watched, and no others, and
// notes that everything may have changed.
func (w *Watcher) restart(why string) error {
	for _, watched := range w.notify.WatchList() {
		_ = w.notify.Remove(watched) // it fails for one that is gone
	}
	w.dirs, w.unread, w.top, w.partial = map[string]*Ignore{}, map[string]rulesLoader{}, nil, false
	info, err := os.Stat(w.cfg.Dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "watch", Path: w.cfg.Dir, Err: errors.New("not a directory")}
	}
	if err != nil {
		return err
	}
	w.outsideStamp = stampOutsideRules(w.cfg.Dir)
	if err := w.watchTree("", func() (*Ignore, error) { return LoadIgnore(w.cfg.Dir) }, func(string) {}); err != nil {
		return err
	}
	w.top = info
	w.RequestFullScan(why)
	return nil
}

// watchTree watches a directory and all below it, and then reads its rules and names what
// is in them, so that nothing is missed that appears or changes meanwhile. It fails
// if its own rules can't be read.
func (w *Watcher) watchTree(dir string, rules rulesLoader, name func(path string)) error {
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
		return nil // if it is there, a comparison will say so
	}
	for _, e := range entries {
		if ignore.Match(e.Name(), e.IsDir()) {
			continue
		}
		below := tree.Join(dir, e.Name())
		name(below)
		if !e.IsDir() {
			continue
		}
		w.watchSubtree(below, ignore, name)
	}
	return nil
}

// watchSubtree is enter for a directory in one with those rules. One whose own rules can't
// be read is left alone until they can: a comparison says why.
func (w *Watcher) watchSubtree(dir string, parent *Ignore, name func(path string)) {
	rules := func() (*Ignore, error) { return parent.Enter(path.Base(dir)) }
	if err := w.watchTree(dir, rules, name); err != nil {
		w.cfg.Log.Debug("watching files", "err", err)
		w.unread[dir] = rules
		w.RequestFullScan(err.Error())
	}
}

// watchDir reports whether the directory is worth looking into.
func (w *Watcher) watchDir(dir string) bool {
	err := w.notify.Add(w.abs(dir))
	switch {
	case err == nil:
		return true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false // the former has been told, the latter can't be copied
	}
	if !w.partial {
		w.partial = true
		w.cfg.Log.Warn("not all directories can be watched: the trees are compared from time to time instead",
			"every", w.cfg.Interval, "err", err, "remedy", watchRemedy(err))
	}
	return true
}

func (w *Watcher) abs(path string) string {
	return filepath.Join(w.cfg.Dir, filepath.FromSlash(path))
}

// handleEvent takes one of fsnotify's.
func (w *Watcher) handleEvent(e fsnotify.Event) {
	if e.Name == w.cfg.Dir {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
			w.noteMissing()
		}
		return
	}
	below, ok := strings.CutPrefix(e.Name, filepath.Clean(w.cfg.Dir+string(filepath.Separator)))
	if !ok {
		return
	}
	p := strings.TrimPrefix(filepath.ToSlash(below), "/")
	dir, name := path.Split(p)
	ignore := w.dirs[strings.TrimSuffix(dir, "/")]
	if ignore == nil {
		return // of a directory that has been left
	}
	if name == gitIgnore || name == dapbridgeIgnore {
		w.rewatch("the rules in " + p + " have changed")
		return
	}
	came, went := e.Has(fsnotify.Create), e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
	wasDir := w.dirs[p] != nil
	if !wasDir && e.Has(fsnotify.Chmod) { // perhaps of a directory that could not be entered
		info, err := os.Lstat(w.abs(p))
		came = came || err == nil && info.IsDir()
	}
	if wasDir && (came || went) {
		w.unwatchTree(p)
		w.dirMoved = true
	}
	isDir := wasDir
	if came || went {
		info, err := os.Lstat(w.abs(p))
		isDir = err == nil && info.IsDir()
	}
	ignored := ignore.Match(name, isDir)
	switch {
	case !ignored:
		w.noteChange(p)
	case wasDir, (came || went) && !isNeverCopied(name, isDir) && !ignore.Match(name, !isDir):
		w.note(p, true)
	}
	if isDir && (came || went) && !ignored {
		w.watchSubtree(p, ignore, w.noteChange)
	}
}

// unwatchTree stops watching a directory and all below it.
func (w *Watcher) unwatchTree(dir string) {
	for d := range w.dirs {
		if d == dir || strings.HasPrefix(d, dir+"/") {
			_ = w.notify.Remove(w.abs(d)) // it fails for one that is gone
			delete(w.dirs, d)
		}
	}
	maps.DeleteFunc(w.unread, func(d string, _ rulesLoader) bool { return isUnder(d, dir) })
}

// repairWatches sees that exactly w.dirs is watched. A directory that was moved while
// its new place was looked at may be watched under its old name: inotify knows
// no names.
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
		w.rewatch("directories were moved while they were looked at")
	}
}
