package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// ServeSync says whether a daemon that serves copies the source to the node.
type ServeSync struct {
	Mode      SyncMode // "" is [SyncOff]
	RecordDir string   // see SyncConfig
}

// SyncMode is when a daemon copies the source.
type SyncMode string

// The modes of a daemon's copying.
const (
	SyncAuto SyncMode = "auto" // if this directory was copied to this node before
	SyncOn   SyncMode = "on"
	SyncOff  SyncMode = "off"
)

// redialTimeout is how long the copying tries to reach the node again at a time.
// Whoever debugs waits for that too, and then tries for as long as it takes.
const redialTimeout = 15 * time.Second

// syncDestination returns the node's directory that the tree is to be copied to
// while the daemon serves, "" for none.
func (c Config) syncDestination(m *sourceMap) (string, error) {
	if c.Sync.Mode == SyncOff || c.Sync.Mode == "" {
		return "", nil
	}
	if runtime.GOOS == "windows" {
		if c.Sync.Mode == SyncOn {
			return "", diag.Errorf(diag.Unsupported, "nothing is copied from Windows")
		}
		return "", nil
	}
	var known []string // the user has put it there before, the last time first
	for _, f := range filesync.ListCopies(c.Sync.RecordDir) {
		if f.Dir == c.Root && f.Node == c.SSH.Node.Name {
			known = append(known, f.To)
		}
	}
	derived := m.place(c.Root)
	switch {
	case derived != "" && slices.Contains(known, derived):
		return derived, filesync.CheckDestination(derived, false)
	case len(known) > 0:
		return known[0], filesync.CheckDestination(known[0], false)
	case c.Sync.Mode == SyncAuto:
		return "", nil
	case derived == "":
		return "", diag.Errorf(diag.SyncRefused, "it is not known where on the node %s belongs", c.Root).
			WithHint("copy it once with dapbridge sync --to DIR; serve then goes on with that")
	}
	return derived, filesync.CheckDerivedDestination(derived)
}

// follower keeps the node's copy of the tree like it while a daemon serves, over the
// daemon's own connection. What goes wrong is its own business: it is logged, told
// to who asks, and tried again. A nil follower copies nothing.
type follower struct {
	cfg     Config
	dialer  *dialer
	derived string // where the tree belongs by the target's binary, "" if that does not say
	keeper  keeper
	cancel  context.CancelFunc
	done    chan struct{}

	runs syncRuns

	mu     sync.Mutex
	status SyncStatus
}

// SyncStatus is how a daemon's copying goes.
type SyncStatus struct {
	Dir   string    `json:"dir"`
	To    string    `json:"to"`
	State SyncState `json:"state"`
	Since time.Time `json:"since"` // when it came to that state
	Error string    `json:"error,omitempty"`
	// Pending are paths that have changed and are not on the node yet; -1 if all is
	// to be compared.
	Pending int `json:"pending"`
	// Done and Total are the changes of the run under way.
	Done  int      `json:"done,omitempty"`
	Total int      `json:"total,omitempty"`
	Last  *SyncRun `json:"last,omitempty"` // the last run that did something, or compared all
}

// SyncState is what a follower does.
type SyncState string

// The states of a follower.
const (
	SyncWatching SyncState = "watching"
	SyncCopying  SyncState = "copying"
	SyncWaiting  SyncState = "waiting" // for the node, after Error
	SyncStopped  SyncState = "stopped" // by Error, for good
)

// SyncRun is what a run has come to.
type SyncRun struct {
	At      time.Time              `json:"at"`
	Files   int                    `json:"files"`
	Bytes   int64                  `json:"bytes"`
	Removed int                    `json:"removed"`
	Seconds float64                `json:"seconds"`
	Failed  []filesync.PathProblem `json:"failed,omitempty"` // the first of them
}

// follow begins to copy to a directory of the node's.
func (c Config) follow(ctx context.Context, d *dialer, to, derived string) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{cfg: c.withIdleTimeout(), dialer: d, derived: derived, cancel: cancel, done: make(chan struct{})}
	f.status = SyncStatus{Dir: c.Root, To: to, State: SyncWaiting, Since: time.Now(), Pending: -1}
	f.keeper = keeper{
		s:  SyncConfig{RecordDir: c.Sync.RecordDir, Progress: f.progress},
		to: to, over: f.over, begun: f.begun, told: f.told, failed: f.failed,
	}
	go func() {
		defer close(f.done)
		defer f.keeper.asks.close()
		defer f.runs.close()
		if err := f.run(ctx); err != nil {
			c.Log.Warn("the source is not copied", "reason", diag.Escape(err.Error()), "remedy", diag.Escape(diag.Hint(err)))
			f.state(SyncStopped, err)
		}
	}()
	return f
}

func (f *follower) run(ctx context.Context) error {
	w, err := filesync.Watch(filesync.WatchConfig{Dir: f.cfg.Root, Log: f.cfg.Log})
	if err != nil {
		return err
	}
	defer w.Close()
	f.mu.Lock()
	f.keeper.w = w
	f.mu.Unlock()
	return f.keeper.run(ctx)
}

// end has the copying end, and wait returns when it has.
func (f *follower) end() {
	if f != nil {
		f.cancel()
	}
}

func (f *follower) wait() {
	if f != nil {
		<-f.done
	}
}

// over runs a receiver over the daemon's connection, making that anew if need be.
func (f *follower) over(ctx context.Context, run func(context.Context, *filesync.Mirror) error) error {
	dialing, cancel := context.WithTimeout(ctx, redialTimeout)
	l, err := f.dialer.connected(dialing)
	cancel()
	if err != nil {
		return err
	}
	return received(ctx, l.conn, (*remote.Cmd).Close, f.cfg, f.keeper.s, f.keeper.to, false, run)
}

func (f *follower) state(s SyncState, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.State, f.status.Since, f.status.Error = s, time.Now(), ""
	f.status.Done, f.status.Total = 0, 0
	if err != nil {
		f.status.Error = err.Error()
	}
}

func (f *follower) begun(bool) { f.state(SyncCopying, nil) }

func (f *follower) progress(done, total int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Done, f.status.Total = done, total
}

func (f *follower) told(r SyncReport, whole bool) (run int) {
	f.state(SyncWatching, nil)
	if !whole && !r.did() {
		return 0
	}
	const some = 10
	f.mu.Lock()
	f.status.Last = &SyncRun{time.Now(), r.Files, r.Bytes, r.Removed, r.Seconds, r.Failed[:min(len(r.Failed), some)]}
	f.mu.Unlock()
	for _, k := range r.Kept {
		f.cfg.Log.Warn("a file was edited on the node, and is kept there", "file", diag.Escape(k.Path), "kept", diag.Escape(k.At))
	}
	for _, p := range r.Failed {
		f.cfg.Log.Warn("a file was not copied", "file", diag.Escape(p.Path), "reason", diag.Escape(p.Reason))
	}
	say := f.cfg.Log.Debug
	if whole {
		say = f.cfg.Log.Info
	}
	say("the source was copied", "to", diag.Escape(r.To), "files", r.Files, "bytes", r.Bytes, "removed", r.Removed, "took", time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
	return f.runs.add(SyncNext{Report: r.short()})
}

// failed tells the log once of an outage, and who follows.
func (f *follower) failed(err error, next time.Duration) error {
	if errors.Is(err, &diag.Error{Code: diag.SyncRefused}) {
		return err
	}
	f.mu.Lock()
	again := f.status.State == SyncWaiting && f.status.Error != ""
	f.mu.Unlock()
	say := f.cfg.Log.Warn
	if again {
		say = f.cfg.Log.Debug
	} else {
		f.runs.add(SyncNext{Trouble: err.Error()})
	}
	say("the source is not copied for now", "reason", diag.Escape(err.Error()), "next try in", next)
	f.state(SyncWaiting, err)
	return nil
}

// copies reports whether it copies dir on this machine to a node's directory, "" for
// where it belongs, or anywhere if that is not known. One that has been stopped does
// not.
func (f *follower) copies(dir, node, to string) bool {
	if f == nil || dir != f.cfg.Root || node != f.cfg.SSH.Node.Name {
		return false
	}
	if to = cmp.Or(to, f.derived); to != "" && path.Clean(to) != f.keeper.to {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status.State != SyncStopped
}

// now has all compared and returns what that has come to.
func (f *follower) now(ctx context.Context) syncAnswer {
	f.mu.Lock()
	w := f.keeper.w
	f.mu.Unlock()
	return f.keeper.asks.wait(ctx, func() {
		if w != nil {
			w.RequestFullScan("dapbridge sync asked for it")
		}
	})
}

// look returns how it goes, nil if nothing is copied.
func (f *follower) look() *SyncStatus {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	if f.keeper.w != nil {
		paths, all := f.keeper.w.Pending()
		if s.Pending = paths; all {
			s.Pending = -1
		}
	}
	return &s
}

// trouble says what is wrong with it, "" if nothing is.
func (s *SyncStatus) trouble() string {
	switch {
	case s == nil:
		return ""
	case s.Error != "":
		return fmt.Sprintf("the source is not copied to %s: %s", s.To, s.Error)
	case s.Last != nil && len(s.Last.Failed) > 0:
		return fmt.Sprintf("not all of the source could be copied to %s", s.To)
	}
	return ""
}
