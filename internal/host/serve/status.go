package serve

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
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
)

// Status is what a daemon says of itself.
type Status struct {
	PID     int             `json:"pid"`
	Version string          `json:"version"`
	Since   time.Time       `json:"since"`
	Listen  string          `json:"listen"` // as an IDE writes it, or stdio
	Root    string          `json:"root"`   // the source
	Node    string          `json:"node"`
	Link    LinkStatus      `json:"link"`
	Target  *TargetStatus   `json:"target,omitempty"` // nil if it is not known, or none
	Session *SessionStatus  `json:"session,omitempty"`
	Sync    *srcsync.Status `json:"sync,omitempty"`
	Warning *Warning        `json:"warning,omitempty"` // the log's last
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
const nodeTimeout = 3 * time.Second

// haltTrouble is how long a target may stand still before that counts as trouble:
// the calls that wait for it then begin to time out (kubelet's
// runtimeRequestTimeout).
const maxHalt = 2 * time.Minute

// monitor reports the state of a daemon. It never blocks what it inspects.
type monitor struct {
	cfg      Config
	since    time.Time
	listen   string
	warnings *warningRecorder
	dialer   atomic.Pointer[dialer]        // nil before the first link
	bridge   atomic.Pointer[bridge.Server] // nil before IDEs may connect
	sync     syncTask
}

// newMonitor returns one for the daemon of c, whose log it reads from then on.
func newMonitor(c *Config, listen string) *monitor {
	w := newWarningRecorder(c.Link.Log.Handler())
	log := slog.New(w)
	c.Link = c.Link.WithLog(log)
	c.Source.Log = log
	return &monitor{cfg: *c, since: time.Now(), listen: listen, warnings: w}
}

func (m *monitor) log() *slog.Logger { return m.cfg.Link.Log }

// status returns the daemon's state.
func (m *monitor) queryStatus(ctx context.Context) Status {
	s := Status{
		PID: os.Getpid(), Version: m.cfg.Link.Agent.Version, Since: m.since, Listen: m.listen, Root: m.cfg.Source.Root, Node: m.cfg.Link.SSH.Node.Name,
		Link: LinkStatus{State: LinkConnecting, Since: m.since}, Warning: m.warnings.last(),
	}
	if syncer := m.sync.syncer(); syncer != nil {
		status := syncer.Status()
		s.Sync = &status
	}
	if d := m.dialer.Load(); d != nil {
		var trouble string
		if s.Link, s.Target, trouble = queryLink(ctx, d.last.Load()); trouble != "" {
			s.Trouble = append(s.Trouble, trouble)
		}
	}
	if b := m.bridge.Load(); b != nil {
		s.Session = querySession(b)
	}
	if h := s.Session; h != nil && h.Halted != nil && time.Since(*h.Halted) > maxHalt {
		s.Trouble = append(s.Trouble, h.Risk)
	}
	if t := s.Sync.Trouble(); t != "" {
		s.Trouble = append(s.Trouble, t)
	}
	return s
}

func querySession(b *bridge.Server) *SessionStatus {
	now, ok := b.Status()
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

// queryLink asks the agent for the target, and says what is wrong with either.
func queryLink(ctx context.Context, l *link.Link) (s LinkStatus, t *TargetStatus, trouble string) {
	if !l.IsAlive() {
		s = LinkStatus{State: LinkLost, Since: l.Since()}
		if at := l.LostAt(); !at.IsZero() {
			s.Since = at
		}
		return s, nil, fmt.Sprintf("the link to the node is lost since %s: it is made anew by the next session", s.Since.Format(time.TimeOnly))
	}
	s = LinkStatus{State: LinkUp, Since: l.Since()}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	took, err := l.Ping(ctx)
	if err != nil {
		s.State = LinkSilent
		return s, nil, fmt.Sprintf("the node has not answered within %s", nodeTimeout)
	}
	s.Milliseconds = float64(took.Microseconds()) / 1e3
	found, err := l.Target(ctx)
	if err != nil {
		return s, nil, fmt.Sprintf("the target: %s", diag.EscapeLine(err.Error()))
	}
	return s, newTargetStatus(found), ""
}

func newTargetStatus(t api.Target) *TargetStatus {
	return &TargetStatus{
		Name: path.Base(t.Exe), PID: t.PID,
		Module: t.Build.ModulePath, Version: versionOf(t.Build), GoVersion: t.Build.GoVersion,
	}
}

// buildVersion is the main module's version, or the commit if it has none.
func versionOf(b exe.Build) string {
	if b.ModuleVersion != "" && b.ModuleVersion != "(devel)" {
		return b.ModuleVersion
	}
	return b.Settings["vcs.revision"]
}
