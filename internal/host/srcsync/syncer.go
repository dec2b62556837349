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

// Delays before a failed run or connection is tried again: the first, doubled up to the
// longest.
const (
	minRetryDelay = time.Second
	maxRetryDelay = 10 * time.Second
)

// Dialer returns a connection to the node. hangUp is called when the connection is not
// needed any more, or when the receiver's handshake times out. It may be called several
// times, and must not block.
type Dialer func(ctx context.Context) (conn link.Conn, hangUp func(), err error)

// SyncerConfig configures a [Syncer].
type SyncerConfig struct {
	Config         // To must be set
	Derived string // the tree's directory according to the target's binary, "" if that does not say
	Dial    Dialer // nil for a connection of its own
	// FailFirst makes Run fail if it loses the node before its first run. Otherwise it
	// reconnects.
	FailFirst bool
	// Notify is called with each event from Run's goroutine; it may be nil.
	Notify func(Event)
}

// Event is an event of a [Syncer].
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
	RunFinished           // also if the run failed after it had kept files
	NodeLost              // nothing can be copied until the next attempt
)

// Syncer mirrors a changing tree to the node. Run does the work; the other methods may be
// called from several goroutines at any time.
type Syncer struct {
	cfg      SyncerConfig
	requests scanRequests
	runs     history

	mu      sync.Mutex
	watcher *filesync.Watcher // nil before Run
	status  Status
}

// NewSyncer returns a Syncer. It copies nothing before Run is called.
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

// Run copies the tree and then its changes. It returns nil when ctx ends. If the
// connection is lost, it reconnects, and does a full scan. Run must be called only once.
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
	for wait := minRetryDelay; ; {
		err := s.connectAndFollow(ctx, func() { wait = minRetryDelay })
		if ctx.Err() != nil {
			return nil
		}
		s.requests.answer(s.requests.take(), scanResult{err: err})
		if s.cfg.FailFirst && !s.hasRun() || errors.Is(err, &diag.Error{Code: diag.SyncRefused}) {
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

// connectAndFollow connects to the node and copies until that fails. It calls succeeded
// after each successful run.
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

// follow copies one batch after another. If files could not be copied, it schedules a full
// scan.
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

// runBatch copies a batch. If a full scan is due, it does that, and sends the result to
// the callers that requested one.
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
		if len(r.Kept) > 0 { // the user must learn where the edited files are now
			s.recordRun(r, full)
		}
		s.requests.answer(waiting, scanResult{err: err})
		return r, err
	}
	s.requests.answer(waiting, scanResult{report: r, run: s.recordRun(r, full)})
	return r, nil
}

// recordRun records the end of a run and returns its number, 0 for a run that is not a
// full scan and did nothing.
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

// recordLoss records why nothing can be copied until the next attempt.
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

// hasRun reports whether a run has ended, or has at least kept files.
func (s *Syncer) hasRun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Last != nil
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

// Copies reports whether the Syncer copies dir to the node's directory to, where "" means
// the derived directory, or any if there is none. A stopped Syncer copies nothing.
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

// FullScan requests a full scan, and blocks until it has ended. It returns the report and
// the run's number.
func (s *Syncer) FullScan(ctx context.Context) (Report, int, error) {
	s.mu.Lock()
	w := s.watcher
	s.mu.Unlock()
	r := s.requests.wait(ctx, func() {
		if w != nil {
			w.RequestFullScan("requested by dapbridge sync")
		}
	})
	return r.report, r.run, r.err
}

// NextRun blocks until there is a run after the one with the given number, and returns it.
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
