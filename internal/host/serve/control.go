package serve

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/control"
)

// Methods of a daemon's control socket.
const (
	controlStatus   = "status"   // -> Status
	controlSync     = "sync"     // SyncRequest -> SyncAnswer, after a full scan
	controlSyncNext = "syncnext" // SyncRequest -> srcsync.RunRecord, when there is one
)

// serveControl serves the control socket until close is called. An error is only logged,
// since the daemon works without it.
func (m *monitor) serveControl() (close func()) {
	if m.cfg.Control == "" {
		return func() {}
	}
	ln, err := control.Listen(m.cfg.Control)
	if err != nil {
		m.log().Warn("no control socket: dapbridge status cannot query this daemon", "reason", err)
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		control.Serve(ctx, ln, map[string]control.Method{
			controlStatus:   func(ctx context.Context, _ json.RawMessage) (any, error) { return m.queryStatus(ctx), nil },
			controlSync:     m.runFullScan,
			controlSyncNext: m.waitForRun,
		}, m.log())
	})
	return func() { cancel(); wg.Wait() }
}

// Daemon is the status of one of the user's daemons, or why it does not answer.
type Daemon struct {
	Status
	Silent *diag.Error `json:"silent,omitempty"`
}

// statusTimeout bounds a daemon's answer to a status query.
const statusTimeout = nodeTimeout + 2*time.Second

// Daemons returns the status of all daemons whose control sockets are in one of the
// directories, the oldest first.
func Daemons(ctx context.Context, dirs []string) ([]Daemon, error) {
	found, err := findDaemons(ctx, dirs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	all := make([]Daemon, len(found))
	var wg sync.WaitGroup
	for i, d := range found {
		wg.Go(func() {
			if err := d.Call(ctx, controlStatus, nil, &all[i].Status); err != nil {
				all[i] = Daemon{Status: Status{PID: d.PID}, Silent: diag.Errorf(diag.CodeOf(err), "%w", err)}
			}
		})
	}
	wg.Wait()
	slices.SortStableFunc(all, func(a, b Daemon) int { return a.Since.Compare(b.Since) })
	return all, nil
}

// findDaemons returns the daemons whose control sockets are in one of the directories.
func findDaemons(ctx context.Context, dirs []string) (all []control.Daemon, err error) {
	for _, dir := range dirs {
		found, err := control.Find(ctx, dir)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
