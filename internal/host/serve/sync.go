package serve

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/control"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
)

// redialTimeout bounds the sync's attempt to dial the link again, during which a session
// that needs the link has to wait.
const redialTimeout = 15 * time.Second

// syncTask is the goroutine that copies the source while a daemon serves. Its errors never
// stop the daemon: they are logged and shown in the status, and the copy is tried again.
type syncTask struct {
	mu     sync.Mutex
	s      *srcsync.Syncer // nil if nothing is copied
	cancel context.CancelFunc
	done   chan struct{}
}

// syncer returns the Syncer, nil if nothing is copied, or not yet.
func (t *syncTask) syncer() *srcsync.Syncer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s
}

// startSync starts to copy the source if the configuration says so. It returns the
// directory on the node, "" if nothing is copied.
func (m *monitor) startSync(ctx context.Context, d *dialer, paths *source.Map) string {
	c := srcsync.Config{Link: m.cfg.Link, Source: m.cfg.Source, RecordDir: m.cfg.Sync.RecordDir}
	derived := paths.NodeDir(c.Source.Root)
	var err error
	if c.To, err = c.FollowDestination(m.cfg.Sync.Mode, derived); err != nil {
		m.logSyncStopped(err)
		return ""
	}
	if c.To == "" {
		return ""
	}
	s := srcsync.NewSyncer(srcsync.SyncerConfig{Config: c, Derived: derived, Dial: d.shareLink, Notify: m.logSync})
	ctx, cancel := context.WithCancel(ctx)
	m.sync.mu.Lock()
	defer m.sync.mu.Unlock()
	m.sync.s, m.sync.cancel, m.sync.done = s, cancel, make(chan struct{})
	go func() { // joined by waitForSync
		defer close(m.sync.done)
		if err := s.Run(ctx); err != nil {
			m.logSyncStopped(err)
		}
	}()
	return c.To
}

// shareLink is a [srcsync.Dialer] that returns the link's connection, dialing the link
// again if it was lost.
func (d *dialer) shareLink(ctx context.Context) (link.Conn, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, redialTimeout)
	defer cancel()
	l, err := d.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return l.Conn, func() {}, nil
}

// stopSync asks the sync to stop.
func (m *monitor) stopSync() {
	if m.sync.syncer() != nil {
		m.sync.cancel()
	}
}

// waitForSync returns when the sync has stopped.
func (m *monitor) waitForSync() {
	if m.sync.syncer() != nil {
		<-m.sync.done
	}
}

func (m *monitor) logSyncStopped(err error) {
	m.log().Warn("the source is not copied", "reason", diag.Escape(err.Error()), "hint", diag.Escape(diag.Hint(err)))
}

// logSync logs the sync's events: an outage once, files that need attention, and full
// scans.
func (m *monitor) logSync(e srcsync.Event) {
	switch e.Kind {
	case srcsync.NodeLost:
		log := m.log().Warn
		if e.Repeated {
			log = m.log().Debug
		}
		log("the source is not copied for now", "reason", diag.Escape(e.Err.Error()), "next try in", e.RetryIn)
	case srcsync.RunFinished:
		if !e.FullScan && !e.Report.DidSomething() {
			return
		}
		r := e.Report
		for _, k := range r.Kept {
			m.log().Warn("a file was edited on the node, and is kept there", "file", diag.Escape(k.Path), "kept", diag.Escape(k.At))
		}
		for _, p := range r.Failed {
			m.log().Warn("a file was not copied", "file", diag.Escape(p.Path), "reason", diag.Escape(p.Reason))
		}
		log := m.log().Debug
		if e.FullScan {
			log = m.log().Info
		}
		log("the source was copied", "to", diag.Escape(r.To), "files", r.Files, "bytes", r.Bytes, "removed", r.Removed,
			"took", time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
	}
}

// SyncRequest names a copy; the daemon ignores it unless it maintains that copy.
type SyncRequest struct {
	Dir  string `json:"dir"`
	Node string `json:"node"`
	To   string `json:"to,omitempty"` // "" for the derived directory, or any if the daemon cannot derive one

	After int `json:"after,omitempty"` // for controlSyncNext: the last run that the caller knows
}

// SyncAnswer is the answer to controlSync. It is empty if the daemon does not maintain
// that copy.
type SyncAnswer struct {
	Report *srcsync.Report `json:"report,omitempty"`
	Run    int             `json:"run,omitempty"` // its number among the daemon's runs
}

// runFullScan answers controlSync.
func (m *monitor) runFullScan(ctx context.Context, params json.RawMessage) (any, error) {
	s, _, err := m.syncerFor(params)
	if s == nil || err != nil {
		return SyncAnswer{}, err
	}
	r, run, err := s.FullScan(ctx)
	return SyncAnswer{&r, run}, err
}

// waitForRun answers controlSyncNext.
func (m *monitor) waitForRun(ctx context.Context, params json.RawMessage) (any, error) {
	s, q, err := m.syncerFor(params)
	if s == nil || err != nil {
		return srcsync.RunRecord{}, err
	}
	return s.NextRun(ctx, q.After)
}

// syncerFor decodes a SyncRequest and returns the Syncer that maintains the copy, nil if
// there is none.
func (m *monitor) syncerFor(params json.RawMessage) (*srcsync.Syncer, SyncRequest, error) {
	var q SyncRequest
	if err := json.Unmarshal(params, &q); err != nil {
		return nil, q, diag.Errorf(diag.Usage, "%w", err)
	}
	s := m.sync.syncer()
	if s == nil || !s.Copies(q.Dir, q.Node, q.To) {
		return nil, q, nil
	}
	return s, q, nil
}

// DaemonSync is a daemon's sync, as a command sees it.
type DaemonSync struct {
	PID    int
	Report srcsync.Report // of the full scan that was requested
	daemon control.Daemon
	next   SyncRequest
}

// SyncByDaemon has the daemon that copies c.Source.Root to the node do a full scan, and
// returns its result, nil if there is no such daemon.
func SyncByDaemon(ctx context.Context, dirs []string, c srcsync.Config) (*DaemonSync, error) {
	found, err := findDaemons(ctx, dirs)
	if err != nil {
		return nil, err
	}
	q := SyncRequest{Dir: c.Source.Root, Node: c.Link.SSH.Node.Name, To: c.To}
	for _, d := range found {
		var answer SyncAnswer
		err := d.Call(ctx, controlSync, q, &answer)
		if diag.CodeOf(err) == diag.DaemonSilent { // it may serve something else; if not, the node's lock names it
			c.Link.Log.Debug("a daemon did not answer whether it copies the source", "pid", d.PID, "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if answer.Report != nil {
			q.After = answer.Run
			return &DaemonSync{d.PID, *answer.Report, d, q}, nil
		}
	}
	return nil, nil
}

// Follow calls report with each later run of the daemon, and when it cannot copy for now.
// It returns nil when ctx ends, and an error when the daemon stops copying.
func (d *DaemonSync) Follow(ctx context.Context, report func(srcsync.RunRecord)) error {
	for {
		var next srcsync.RunRecord
		err := d.daemon.Call(ctx, controlSyncNext, d.next, &next)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case next.Run <= d.next.After:
			return srcsync.ErrStopped()
		}
		d.next.After = next.Run
		report(next)
	}
}
