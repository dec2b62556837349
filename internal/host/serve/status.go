package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Status is what a daemon says of itself.
type Status struct {
	PID     int            `json:"pid"`
	Version string         `json:"version"`
	Since   time.Time      `json:"since"`
	Listen  string         `json:"listen"` // as an IDE writes it, or stdio
	Root    string         `json:"root"`   // the source
	Node    string         `json:"node"`
	Link    LinkStatus     `json:"link"`
	Target  *TargetStatus  `json:"target,omitempty"` // nil if it is not known, or none
	Session *SessionStatus `json:"session,omitempty"`
	Sync    *SyncStatus    `json:"sync,omitempty"`
	Warning *Warning       `json:"warning,omitempty"` // the log's last
	// Trouble is what is wrong, a line each; none if all is well.
	Trouble []string `json:"trouble,omitempty"`
}

// LinkStatus is how the connection to the node is.
type LinkStatus struct {
	State LinkState `json:"state"`
	Since time.Time `json:"since"` // when it came to that state
	// Milliseconds is how long the agent took to answer just now, 0 if it did not.
	Milliseconds float64 `json:"milliseconds,omitempty"`
}

// LinkState is how far a link has come.
type LinkState string

// The states of a link.
const (
	LinkConnecting LinkState = "connecting"
	LinkUp         LinkState = "up"
	LinkSilent     LinkState = "silent" // it stands, and the agent does not answer in time
	LinkLost       LinkState = "lost"   // the next session, or the copying, makes it anew
)

// TargetStatus is the process that is debugged.
type TargetStatus struct {
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	Module    string `json:"module,omitempty"`
	Version   string `json:"version,omitempty"`
	GoVersion string `json:"goVersion,omitempty"`
}

// SessionStatus is the IDE that debugs.
type SessionStatus struct {
	Client   string              `json:"client"`            // the IDE and its address
	Process  string              `json:"process,omitempty"` // which process that is, if the system tells
	Protocol string              `json:"protocol"`
	Since    time.Time           `json:"since"`
	State    bridge.SessionState `json:"state"`
	// Halted is since when the target stands still, and Risk what that does to the
	// node. Nil and "" if it does not.
	Halted *time.Time `json:"halted,omitempty"`
	Risk   string     `json:"risk,omitempty"`
}

// answerTime is how long the node may take to answer for a status.
const answerTime = 3 * time.Second

// haltTrouble is how long a target may stand still before that counts as trouble:
// the calls that wait for it then begin to time out (kubelet's
// runtimeRequestTimeout).
const haltTrouble = 2 * time.Minute

// monitor knows how a daemon is. It holds up nothing that it looks at.
type monitor struct {
	cfg      Config
	since    time.Time
	listen   string
	warnings *lastWarning
	dialer   atomic.Pointer[dialer]        // nil before the first link
	bridge   atomic.Pointer[bridge.Server] // nil before IDEs may come
	sync     *follower                     // begun before syncing is closed
	syncing  chan struct{}                 // closed when it is known whether there is one
}

// newMonitor returns one for the daemon of c, whose log it reads from then on.
func newMonitor(c *Config, listen string) *monitor {
	w := newLastWarning(c.Log.Handler())
	c.Log = slog.New(w)
	c.SSH.Log, c.Upload.Log, c.Agent.Log = c.Log, c.Log, c.Log
	return &monitor{cfg: *c, since: time.Now(), listen: listen, warnings: w, syncing: make(chan struct{})}
}

// beginSync begins to copy the source, if that is wanted, and returns where to.
func (m *monitor) beginSync(ctx context.Context, d *dialer, source *sourceMap) string {
	defer close(m.syncing)
	to, err := m.cfg.syncDestination(source)
	if err != nil {
		m.cfg.Log.Warn("the source is not copied", "reason", diag.Escape(err.Error()), "remedy", diag.Escape(diag.Hint(err)))
		return ""
	}
	if to != "" {
		m.sync = m.cfg.follow(ctx, d, to, source.place(m.cfg.Root))
	}
	return to
}

// follower returns what copies the source, nil if nothing does.
func (m *monitor) follower() *follower {
	select {
	case <-m.syncing:
		return m.sync
	default:
		return nil
	}
}

// status says how the daemon is.
func (m *monitor) status(ctx context.Context) Status {
	s := Status{
		PID: os.Getpid(), Version: m.cfg.Agent.Version, Since: m.since, Listen: m.listen, Root: m.cfg.Root, Node: m.cfg.SSH.Node.Name,
		Link: LinkStatus{State: LinkConnecting, Since: m.since}, Sync: m.follower().look(), Warning: m.warnings.last(),
	}
	if d := m.dialer.Load(); d != nil {
		var trouble string
		if s.Link, s.Target, trouble = d.last.Load().look(ctx); trouble != "" {
			s.Trouble = append(s.Trouble, trouble)
		}
	}
	if b := m.bridge.Load(); b != nil {
		s.Session = sessionStatus(b)
	}
	if h := s.Session; h != nil && h.Halted != nil && time.Since(*h.Halted) > haltTrouble {
		s.Trouble = append(s.Trouble, h.Risk)
	}
	if t := s.Sync.trouble(); t != "" {
		s.Trouble = append(s.Trouble, t)
	}
	return s
}

func sessionStatus(b *bridge.Server) *SessionStatus {
	now, ok := b.Session()
	if !ok {
		return nil
	}
	s := &SessionStatus{
		Client: now.Client, Process: now.Process, Protocol: now.Protocol.String(),
		Since: now.Since, State: now.State, Risk: now.Risk,
	}
	if !now.Halted.IsZero() {
		s.Halted = &now.Halted
	}
	return s
}

// look asks the agent for the target, and tells what is wrong with either.
func (l *Link) look(ctx context.Context) (s LinkStatus, t *TargetStatus, trouble string) {
	if !l.alive() {
		s = LinkStatus{State: LinkLost, Since: l.since}
		if at := l.lost.Load(); at != 0 {
			s.Since = time.Unix(0, at)
		}
		return s, nil, fmt.Sprintf("the link to the node is lost since %s: it is made anew by the next session", s.Since.Format(time.TimeOnly))
	}
	s = LinkStatus{State: LinkUp, Since: l.since}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	took, err := l.client.Ping(ctx)
	if err != nil {
		s.State = LinkSilent
		return s, nil, fmt.Sprintf("the node has not answered within %s", answerTime)
	}
	s.Milliseconds = float64(took.Microseconds()) / 1e3
	found, err := l.client.Target(ctx)
	if err != nil {
		return s, nil, fmt.Sprintf("the target: %s", diag.EscapeLine(err.Error()))
	}
	return s, targetStatus(found), ""
}

func targetStatus(t api.Target) *TargetStatus {
	return &TargetStatus{
		Name: path.Base(t.Exe), PID: t.PID,
		Module: t.Build.ModulePath, Version: buildVersion(t.Build), GoVersion: t.Build.GoVersion,
	}
}

// buildVersion is the main module's version, or the commit if it has none.
func buildVersion(b exe.Build) string {
	if b.ModuleVersion != "" && b.ModuleVersion != "(devel)" {
		return b.ModuleVersion
	}
	return b.Settings["vcs.revision"]
}
