package filesync

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// WatchConfig configures a Watcher. The default times suit files that people save in an
// editor.
type WatchConfig struct {
	Dir     string        // the tree's top directory
	Quiet   time.Duration // how long nothing changes before a batch is complete; 0 is 3 ms
	MaxWait time.Duration // how long a batch waits at most; 0 is 200 ms
	// Interval is the time between checks for changes that cause no event: whether Dir is
	// still the watched directory, and whether the ignore rules outside of it have changed.
	// If not all directories can be watched, each check requests a full scan. 0 is 10 s.
	Interval time.Duration
	Log      *slog.Logger // nil logs nothing
}

// Watcher reports changes to those entries of a tree that are copied. No change is lost
// silently: whenever one may have been missed, a Batch asks for a FullScan. Ignore rules
// outside of the tree, and git's info/exclude, are polled.
type Watcher struct {
	cfg    WatchConfig
	notify *fsnotify.Watcher
	errs   chan error  // from notify; closed when drainErrors has returned
	rescan *time.Timer // see RescanAfter
	stop   context.CancelFunc
	done   chan struct{}

	// Owned by the goroutine of run.
	dirs         map[string]*Ignore     // the watched directories
	unread       map[string]rulesLoader // directories not watched because their rules could not be read
	top          fs.FileInfo            // of dirs[""]; nil while it is missing
	lastWarning  string                 // last logged about the top
	outsideStamp string                 // see stampOutsideRules
	partial      bool                   // not all directories could be watched
	dirMoved     bool                   // a directory was moved or removed in the last event

	mu      sync.Mutex
	pending Batch
	paths   map[string]bool // the value is whether Batch.Ignored has the path
	first   time.Time       // the pending batch's first change
	last    time.Time
	wake    chan struct{} // holds one value while something is pending
}

// rulesLoader reads a directory's rules.
type rulesLoader func() (*Ignore, error)

// Watch starts watching. The first batch asks for a full scan.
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
		return nil, diag.Errorf(diag.WatchFailed, "watch files: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Watcher{
		cfg: cfg, notify: notify, errs: make(chan error, 1), rescan: newStoppedTimer(), stop: stop, done: make(chan struct{}),
		paths: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	go w.drainErrors()
	if err := w.restart("watching has started"); err != nil {
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

func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// Close stops watching. It returns when the watcher's goroutines have ended.
func (w *Watcher) Close() error {
	w.stop()
	<-w.done
	w.rescan.Stop()
	err := w.notify.Close()
	for range w.errs { // until drainErrors has returned
	}
	return err
}

// drainErrors receives fsnotify's errors until it is closed. It must never block:
// fsnotify holds its lock while it reports an error, and run may be waiting for that
// lock. One error in errs stands for all that follow before run sees it. EINVAL is
// ignored: the watch to be removed was gone already, since its directory has been
// moved and removed (inotify_rm_watch(2)).
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
			w.rewatch("the kernel reported more changes than could be read: " + err.Error())
		case <-tick.C:
			w.poll()
		case <-settled.C:
			w.repairWatches()
		case <-w.rescan.C:
			w.RequestFullScan("some paths could not be copied")
		}
		if w.dirMoved {
			w.dirMoved = false
			settled.Reset(repairDelay)
		}
	}
}

// poll checks for changes that cause no event.
func (w *Watcher) poll() {
	info, err := os.Stat(w.cfg.Dir)
	switch {
	case err != nil || !info.IsDir():
		w.noteMissing()
	case w.top == nil:
		w.rewatch("the directory is back")
	case !os.SameFile(info, w.top):
		w.rewatch("the directory was replaced")
	case w.outsideStamp != stampOutsideRules(w.cfg.Dir):
		w.rewatch("ignore rules outside of the directory have changed")
	case w.partial:
		w.RequestFullScan("not all directories can be watched")
	default:
		for dir, load := range w.unread {
			if _, err := load(); err == nil {
				w.rewatch("the ignore rules of " + dir + " can be read again")
				return
			}
		}
	}
}

// noteMissing notes that the tree is missing. This is not a change to copy: the tree
// has been moved, or is not mounted.
func (w *Watcher) noteMissing() {
	if w.top != nil {
		w.cfg.Log.Warn("copying is paused: the directory is missing", "dir", w.cfg.Dir)
		w.top = nil
	}
}

// rewatch restarts watching. If that fails, the next poll tries again.
func (w *Watcher) rewatch(reason string) {
	err := w.restart(reason)
	if err == nil {
		w.lastWarning = ""
		return
	}
	w.top = nil
	if text := err.Error(); text != w.lastWarning {
		w.lastWarning = text
		w.cfg.Log.Warn("copying is paused: the directory cannot be watched", "dir", w.cfg.Dir, "err", err)
	}
}

// restart watches exactly the directories that should be watched, and requests a full
// scan.
func (w *Watcher) restart(reason string) error {
	for _, watched := range w.notify.WatchList() {
		_ = w.notify.Remove(watched) // fails for a directory that is gone
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
	w.RequestFullScan(reason)
	return nil
}
