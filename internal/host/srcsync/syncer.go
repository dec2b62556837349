package srcsync

import (
	"cmp"
	"context"
	"errors"
	"path"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/link"
)

// The first and the longest delay before a failed run or connection is tried again.
const (
	minRetryDelay = time.Second
	maxRetryDelay = 10 * time.Second
)

// Dialer returns a connection to the node. hangUp is called when it is not needed any
// more, or when a receiver on it stays silent; it may be called again, and must not
// block.
type Dialer func(ctx context.Context) (conn link.Conn, hangUp func(), err error)

// SyncerConfig says what a Syncer copies, and how it reaches the node.
type SyncerConfig struct {
	Config         // To must be set
	Derived string // where the target's binary says that the tree is, "" if it does not say
	Dial    Dialer // nil for connections of its own
	// FailFirst ends Run with an error if nothing could be copied yet. Later, and
	// otherwise, a lost node is waited for.
	FailFirst bool
	// Notify is called with each event, from Run's goroutine; nil for none.
	Notify func(Event)
}

// Event is something that a Syncer reports.
type Event struct {
	Kind     EventKind
	FullScan bool          // of the run
	Report   Report        // of the run, for RunFinished
	Err      error         // for NodeLost
	RetryIn  time.Duration // for NodeLost
	Repeated bool          // for NodeLost: the last attempt failed too
}

// EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	RunStarted  EventKind = iota
	RunFinished           // also one that failed half way and has kept files
	NodeLost              // nothing can be copied until the next attempt
)

// Syncer keeps the node's copy equal to a tree that changes. Run owns its loop; the
// other methods may be called from several goroutines at any time.
type Syncer struct {
	cfg      SyncerConfig
	requests scanRequests
	runs     history

	mu      sync.Mutex
	watcher *filesync.Watcher // nil before Run
	status  Status
}

// NewSyncer returns a Syncer; Run starts it.
func NewSyncer(c SyncerConfig) *Syncer {
	s := &Syncer{cfg: c, status: Status{Dir: c.Source.Root, To: c.To, State: Waiting, Since: time.Now(), Pending: -1}}
	s.cfg.Progress = func(done, total int) {
		s.setProgress(done, total)
		if c.Progress != nil {
			c.Progress(done, total)
		}
	}
	if c.Dial == nil {
		s.cfg.Dial = c.dialNode
	}
	return s
}

// Run copies the tree and then what changes in it, until ctx ends, which is not an
// error. A connection that is lost is made anew, and a full scan follows. It must be
// called once.
func (s *Syncer) Run(ctx context.Context) (err error) {
	defer s.requests.close()
	defer s.runs.close()
	defer func() {
		if err != nil {
			s.setState(Stopped, err)
		}
	}()
	w, err := filesync.Watch(filesync.WatchConfig{Dir: s.cfg.Source.Root, Log: s.cfg.Link.Log})
	if err != nil {
		return err
	}
	defer w.Close()
	s.mu.Lock()
	s.watcher = w
	s.mu.Unlock()
	copied := !s.cfg.FailFirst
	for wait := minRetryDelay; ; {
		err := s.connectAndFollow(ctx, func() { wait, copied = minRetryDelay, true })
		if ctx.Err() != nil {
			return nil
		}
		s.requests.answer(s.requests.take(), scanResult{err: err})
		if !copied || errors.Is(err, &diag.Error{Code: diag.SyncRefused}) {
			return err
		}
		s.recordLoss(err, wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-s.requests.arrivals():
		}
		wait = min(2*wait, maxRetryDelay)
		w.RequestFullScan("the connection to the node was lost")
	}
}

// connectAndFollow connects to the node and copies until that fails. It calls
// succeeded after each run.
func (s *Syncer) connectAndFollow(ctx context.Context, succeeded func()) error {
	conn, hangUp, err := s.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	return s.cfg.receive(ctx, conn, hangUp, s.cfg.To, false, func(ctx context.Context, m *filesync.Mirror) error {
		return s.follow(ctx, m, succeeded)
	})
}

// follow copies one batch after another. What has failed is tried again, after a
// while, by a full scan.
func (s *Syncer) follow(ctx context.Context, m *filesync.Mirror, succeeded func()) error {
	wait := minRetryDelay
	for {
		b, err := s.watcher.Next(ctx)
		if err != nil {
			return err
		}
		r, err := s.runBatch(ctx, m, b)
		if err != nil {
			return err
		}
		succeeded()
		switch {
		case len(r.Failed) > 0:
			s.watcher.RescanAfter(wait)
			wait = min(2*wait, maxRetryDelay)
		case b.FullScan != "":
			wait = minRetryDelay
		}
	}
}

// runBatch copies a batch, by a full scan if that is due, which also answers those who
// asked for one.
func (s *Syncer) runBatch(ctx context.Context, m *filesync.Mirror, b filesync.Batch) (r Report, err error) {
	full := b.FullScan != ""
	s.setState(Copying, nil)
	s.notify(Event{Kind: RunStarted, FullScan: full})
	var waiting []chan<- scanResult
	if full {
		waiting = s.requests.take()
		r, err = s.cfg.fullScan(ctx, s.cfg.To, m)
	} else {
		start := time.Now()
		r = Report{Dir: m.Dir, To: s.cfg.To}
		r.Report, err = m.SyncBatch(ctx, b)
		r.Seconds = time.Since(start).Seconds()
	}
	if err != nil {
		if len(r.Kept) > 0 { // else nobody learns where that is now
			s.recordRun(r, full)
		}
		s.requests.answer(waiting, scanResult{err: err})
		return r, err
	}
	s.requests.answer(waiting, scanResult{report: r, run: s.recordRun(r, full)})
	return r, nil
}

// finishRun records a run and returns its number, 0 if there is nothing to tell of it.
func (s *Syncer) recordRun(r Report, full bool) (run int) {
	s.setState(Watching, nil)
	if full || r.DidSomething() {
		s.mu.Lock()
		s.status.Last = newLastRun(r)
		s.mu.Unlock()
		run = s.runs.add(RunRecord{Report: r.shorten()})
	}
	s.notify(Event{Kind: RunFinished, FullScan: full, Report: r})
	return run
}

// loseNode records why nothing can be copied for now.
func (s *Syncer) recordLoss(err error, retryIn time.Duration) {
	s.mu.Lock()
	repeated := s.status.State == Waiting && s.status.Error != ""
	s.mu.Unlock()
	if !repeated {
		s.runs.add(RunRecord{Trouble: err.Error()})
	}
	s.setState(Waiting, err)
	s.notify(Event{Kind: NodeLost, Err: err, RetryIn: retryIn, Repeated: repeated})
}

func (s *Syncer) notify(e Event) {
	if s.cfg.Notify != nil {
		s.cfg.Notify(e)
	}
}

func (s *Syncer) setState(state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.State, s.status.Since, s.status.Error = state, time.Now(), ""
	s.status.Done, s.status.Total = 0, 0
	if err != nil {
		s.status.Error = err.Error()
	}
}

func (s *Syncer) setProgress(done, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Done, s.status.Total = done, total
}

// Copies reports whether the Syncer copies dir on this machine to a node's directory:
// "" is where dir belongs, or any if that is not known. One that has stopped does not.
func (s *Syncer) Copies(dir, node, to string) bool {
	if dir != s.cfg.Source.Root || node != s.cfg.Link.SSH.Node.Name {
		return false
	}
	if to = cmp.Or(to, s.cfg.Derived); to != "" && path.Clean(to) != s.cfg.To {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.State != Stopped
}

// FullScan has the whole tree compared and returns the report and the number of that
// run.
func (s *Syncer) FullScan(ctx context.Context) (Report, int, error) {
	s.mu.Lock()
	w := s.watcher
	s.mu.Unlock()
	r := s.requests.wait(ctx, func() {
		if w != nil {
			w.RequestFullScan("dapbridge sync asked for it")
		}
	})
	return r.report, r.run, r.err
}

// NextRun waits for the first run after the one with the given number.
func (s *Syncer) NextRun(ctx context.Context, after int) (RunRecord, error) {
	return s.runs.next(ctx, after)
}

// Status returns the current state.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	if s.watcher != nil {
		paths, all := s.watcher.Pending()
		if status.Pending = paths; all {
			status.Pending = -1
		}
	}
	return status
}
