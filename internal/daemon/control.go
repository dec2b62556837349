package daemon

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/control"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Methods of a daemon's control socket.
const (
	controlStatus = "status" // -> Status
	controlSync   = "sync"   // SyncAsk -> SyncAnswer, when all has been compared
)

// SyncAsk asks a daemon for a full comparison, if it is the one who copies this
// directory to this node.
type SyncAsk struct {
	Dir  string `json:"dir"`
	Node string `json:"node"`
	To   string `json:"to,omitempty"` // "" is wherever it copies to
}

// SyncAnswer is nothing if the daemon does not copy that.
type SyncAnswer struct {
	Report *SyncReport `json:"report,omitempty"`
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
			controlStatus: func(ctx context.Context, _ json.RawMessage) (any, error) { return m.status(ctx), nil },
			controlSync:   m.syncNow,
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
	r, err := f.now(ctx)
	return SyncAnswer{&r}, err
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

// SyncByDaemon has the daemon that copies c.Root to this node compare all, and
// returns what that has come to and the daemon's pid; a nil report if no daemon
// does.
func SyncByDaemon(ctx context.Context, dirs []string, c Config, s SyncConfig) (*SyncReport, int, error) {
	found, err := findDaemons(ctx, dirs)
	if err != nil {
		return nil, 0, err
	}
	ask := SyncAsk{Dir: c.Root, Node: c.SSH.Node.Name, To: s.To}
	for _, d := range found {
		var answer SyncAnswer
		err := d.Call(ctx, controlSync, ask, &answer)
		if diag.CodeOf(err) == diag.DaemonSilent { // it may serve something else: the node says who is in the way
			c.Log.Debug("asking a daemon to copy", "pid", d.PID, "error", err)
			continue
		}
		if err != nil || answer.Report != nil {
			return answer.Report, d.PID, err
		}
	}
	return nil, 0, nil
}
