package daemon

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
	controlSync     = "sync"     // SyncAsk -> SyncAnswer, when all has been compared
	controlSyncNext = "syncnext" // SyncAsk -> SyncNext, when there is one
)

// SyncAsk asks a daemon for a full comparison, if it is the one who copies this
// directory to this node.
type SyncAsk struct {
	Dir  string `json:"dir"`
	Node string `json:"node"`
	To   string `json:"to,omitempty"` // "" is where it belongs, or anywhere if the daemon does not know

	After int `json:"after,omitempty"` // of controlSyncNext: the run that is known already
}

// SyncAnswer is nothing if the daemon does not copy that.
type SyncAnswer struct {
	Report *SyncReport `json:"report,omitempty"`
	Run    int         `json:"run,omitempty"` // its number among the daemon's runs
}

// SyncNext is a run of a daemon's copying, or why there is none for now; nothing if
// the daemon does not copy that.
type SyncNext struct {
	Run     int         `json:"run"`
	Report  *SyncReport `json:"report,omitempty"`
	Trouble string      `json:"trouble,omitempty"`
}

// open has the daemon answer on its control socket, until close. Without one it
// serves all the same.
func (m *monitor) open() (close func()) {
	if m.cfg.Control == "" {
		return func() {}
	}
	ln, err := control.Listen(m.cfg.Control)
	if err != nil {
		m.cfg.Log.Warn("dapbridge status does not see this daemon", "reason", err)
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		control.Serve(ctx, ln, map[string]control.Method{
			controlStatus:   func(ctx context.Context, _ json.RawMessage) (any, error) { return m.status(ctx), nil },
			controlSync:     m.syncNow,
			controlSyncNext: m.syncNext,
		}, m.cfg.Log)
	})
	return func() { cancel(); wg.Wait() }
}

func (m *monitor) syncNow(ctx context.Context, params json.RawMessage) (any, error) {
	var ask SyncAsk
	if err := json.Unmarshal(params, &ask); err != nil {
		return nil, diag.Errorf(diag.Usage, "%w", err)
	}
	f := m.follower()
	if !f.copies(ask.Dir, ask.Node, ask.To) {
		return SyncAnswer{}, nil
	}
	r := f.now(ctx)
	return SyncAnswer{&r.report, r.run}, r.err
}

func (m *monitor) syncNext(ctx context.Context, params json.RawMessage) (any, error) {
	var ask SyncAsk
	if err := json.Unmarshal(params, &ask); err != nil {
		return nil, diag.Errorf(diag.Usage, "%w", err)
	}
	f := m.follower()
	if !f.copies(ask.Dir, ask.Node, ask.To) {
		return SyncNext{}, nil
	}
	return f.runs.next(ctx, ask.After)
}

// Daemon is one of this user's, or why it says nothing.
type Daemon struct {
	Status
	Silent *diag.Error `json:"silent,omitempty"`
}

// silence is how long a daemon may take to say how it is.
const silence = answerTime + 2*time.Second

// Daemons asks all daemons whose control sockets are in one of the directories how
// they are, the oldest first.
func Daemons(ctx context.Context, dirs []string) ([]Daemon, error) {
	found, err := findDaemons(ctx, dirs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
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

// DaemonSync is the copying of a daemon's, as a command sees it.
type DaemonSync struct {
	PID    int
	Report SyncReport // of the comparison that was asked for
	daemon control.Daemon
	ask    SyncAsk
}

// SyncByDaemon has the daemon that copies c.Root to this node compare all, and
// returns when it has; nil if no daemon does.
func SyncByDaemon(ctx context.Context, dirs []string, c Config, s SyncConfig) (*DaemonSync, error) {
	found, err := findDaemons(ctx, dirs)
	if err != nil {
		return nil, err
	}
	ask := SyncAsk{Dir: c.Root, Node: c.SSH.Node.Name, To: s.To}
	for _, d := range found {
		var answer SyncAnswer
		err := d.Call(ctx, controlSync, ask, &answer)
		if diag.CodeOf(err) == diag.DaemonSilent { // it may serve something else: the node says who is in the way
			c.Log.Debug("asking a daemon to copy", "pid", d.PID, "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if answer.Report != nil {
			ask.After = answer.Run
			return &DaemonSync{d.PID, *answer.Report, d, ask}, nil
		}
	}
	return nil, nil
}

// Follow tells of each of the daemon's runs that follow, and of trouble, until ctx
// ends, which is no error, or the daemon copies no more.
func (d *DaemonSync) Follow(ctx context.Context, told func(SyncNext)) error {
	for {
		var next SyncNext
		err := d.daemon.Call(ctx, controlSyncNext, d.ask, &next)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case next.Run <= d.ask.After:
			return errNotSyncing()
		}
		d.ask.After = next.Run
		told(next)
	}
}
