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

// redialTimeout bounds one attempt of the copying to reach the node again. A session
// that needs the link waits for that, and then tries for as long as it takes.
const redialTimeout = 15 * time.Second

// syncTask is the copying of the source while a daemon serves. What goes wrong with it
// never stops the daemon: it is logged, reported to those who ask, and tried again.
type syncTask struct {
	mu     sync.Mutex
	s      *srcsync.Syncer // nil if nothing is copied
	cancel context.CancelFunc
	done   chan struct{}
}

// syncer returns what copies the source, nil if nothing does, or not yet.
func (t *syncTask) syncer() *srcsync.Syncer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.s
}

// startSync starts to copy the source, if that is wanted, and returns where to.
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

// shareLink is a [srcsync.Dialer] that returns the daemon's own connection, making it
// anew if need be.
func (d *dialer) shareLink(ctx context.Context) (link.Conn, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, redialTimeout)
	defer cancel()
	l, err := d.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return l.Conn, func() {}, nil
}

// stopSync stops the copying, and waitForSync returns when it has stopped.
func (m *monitor) stopSync() {
	if m.sync.syncer() != nil {
		m.sync.cancel()
	}
}

func (m *monitor) waitForSync() {
	if m.sync.syncer() != nil {
		<-m.sync.done
	}
}

func (m *monitor) logSyncStopped(err error) {
	m.log().Warn("the source is not copied", "reason", diag.Escape(err.Error()), "remedy", diag.Escape(diag.Hint(err)))
}

// logSync logs what becomes of the copying: an outage once, files that need attention,
// and full scans.
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

// SyncRequest asks a daemon for a full scan, if it is the one that copies this
// directory to this node.
type SyncRequest struct {
	Dir  string `json:"dir"`
	Node string `json:"node"`
	To   string `json:"to,omitempty"` // "" is where it belongs, or any if the daemon does not know

	After int `json:"after,omitempty"` // of controlSyncNext: the run that the caller knows already
}

// SyncAnswer is empty if the daemon does not copy that.
type SyncAnswer struct {
	Report *srcsync.Report `json:"report,omitempty"`
	Run    int             `json:"run,omitempty"` // its number among the daemon's runs
}

// scan answers controlSync.
func (m *monitor) runFullScan(ctx context.Context, params json.RawMessage) (any, error) {
	s, _, err := m.syncerFor(params)
	if s == nil || err != nil {
		return SyncAnswer{}, err
	}
	r, run, err := s.FullScan(ctx)
	return SyncAnswer{&r, run}, err
}

// nextRun answers controlSyncNext.
func (m *monitor) waitForRun(ctx context.Context, params json.RawMessage) (any, error) {
	s, q, err := m.syncerFor(params)
	if s == nil || err != nil {
		return srcsync.RunRecord{}, err
	}
	return s.NextRun(ctx, q.After)
}

// syncerFor returns the Syncer that a SyncRequest means, nil if there is none.
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

// DaemonSync is a daemon's copying, as a command sees it.
type DaemonSync struct {
	PID    int
	Report srcsync.Report // of the full scan that was asked for
	daemon control.Daemon
	next   SyncRequest
}

// SyncByDaemon has the daemon that copies c.Source.Root to this node do a full scan,
// and returns when it is done; nil if no daemon copies that.
func SyncByDaemon(ctx context.Context, dirs []string, c srcsync.Config) (*DaemonSync, error) {
	found, err := findDaemons(ctx, dirs)
	if err != nil {
		return nil, err
	}
	q := SyncRequest{Dir: c.Source.Root, Node: c.Link.SSH.Node.Name, To: c.To}
	for _, d := range found {
		var answer SyncAnswer
		err := d.Call(ctx, controlSync, q, &answer)
		if diag.CodeOf(err) == diag.DaemonSilent { // it may serve something else: the node says who is in the way
			c.Link.Log.Debug("asking a daemon to copy", "pid", d.PID, "error", err)
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

// Follow calls report with each of the daemon's later runs, and with trouble, until
// ctx ends, which is not an error, or the daemon stops copying.
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
