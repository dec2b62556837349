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

// Status is the state of a daemon.
type Status struct {
	PID     int             `json:"pid"`
	Version string          `json:"version"`
	Since   time.Time       `json:"since"`
	Listen  string          `json:"listen"` // in the form that IDEs expect, or stdio
	Root    string          `json:"root"`   // of the source
	Node    string          `json:"node"`
	Link    LinkStatus      `json:"link"`
	Target  *TargetStatus   `json:"target,omitempty"` // nil if there is none, or it is unknown
	Session *SessionStatus  `json:"session,omitempty"`
	Sync    *srcsync.Status `json:"sync,omitempty"`
	Warning *Warning        `json:"warning,omitempty"` // the last one logged
	// Trouble lists the current problems, one line each.
	Trouble []string `json:"trouble,omitempty"`
}

// LinkStatus is the state of the link.
type LinkStatus struct {
	State LinkState `json:"state"`
	Since time.Time `json:"since"` // when the link entered that state
	// Milliseconds is the time of a round trip to the agent, 0 if it did not answer.
	Milliseconds float64 `json:"milliseconds,omitempty"`
}

// LinkState is the state of a link.
type LinkState string

// The states of a link.
const (
	LinkConnecting LinkState = "connecting"
	LinkUp         LinkState = "up"
	LinkSilent     LinkState = "silent" // the link is up, but the agent does not answer in time
	LinkLost       LinkState = "lost"   // the next session, or the sync, reconnects
)

// TargetStatus describes the target.
type TargetStatus struct {
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	Module    string `json:"module,omitempty"`
	Version   string `json:"version,omitempty"`
	GoVersion string `json:"goVersion,omitempty"`
}

// SessionStatus describes the current session.
type SessionStatus struct {
	Client   string              `json:"client"`            // the IDE and its address
	Process  string              `json:"process,omitempty"` // the IDE's process, if the system can name it
	Protocol string              `json:"protocol"`
	Since    time.Time           `json:"since"`
	State    bridge.SessionState `json:"state"`
	// Halted is when the target was halted, and Risk what that does to the node; nil and
	// "" while it runs.
	Halted *time.Time `json:"halted,omitempty"`
	Risk   string     `json:"risk,omitempty"`
}

// nodeTimeout bounds the node's answers for a status.
const nodeTimeout = 3 * time.Second

// maxHalt is how long a target may be halted before a status reports that as trouble:
// after that, calls to it time out (kubelet's runtimeRequestTimeout).
const maxHalt = 2 * time.Minute

// monitor reports the state of a daemon. It never blocks what it inspects.
type monitor struct {
	cfg      Config
	since    time.Time
	listen   string
	warnings *warningRecorder
	dialer   atomic.Pointer[dialer]        // nil until the first link is up
	bridge   atomic.Pointer[bridge.Server] // nil until IDEs may connect
	sync     syncTask
}

// newMonitor returns a monitor for the daemon of c. It changes c's log, to record
// warnings.
func newMonitor(c *Config, listen string) *monitor {
	w := newWarningRecorder(c.Link.Log.Handler())
	log := slog.New(w)
	c.Link = c.Link.WithLog(log)
	c.Source.Log = log
	return &monitor{cfg: *c, since: time.Now(), listen: listen, warnings: w}
}

func (m *monitor) log() *slog.Logger { return m.cfg.Link.Log }

// queryStatus returns the daemon's state.
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

// querySession returns the bridge's current session, nil if there is none.
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

// queryLink returns the state of a link and of the target, which it requests from the
// agent, and a line about what is wrong with either.
func queryLink(ctx context.Context, l *link.Link) (s LinkStatus, t *TargetStatus, trouble string) {
	if !l.IsAlive() {
		s = LinkStatus{State: LinkLost, Since: l.Since()}
		if at := l.LostAt(); !at.IsZero() {
			s.Since = at
		}
		return s, nil, fmt.Sprintf("the link to the node was lost at %s; the next session reconnects", s.Since.Format(time.TimeOnly))
	}
	s = LinkStatus{State: LinkUp, Since: l.Since()}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	took, err := l.Ping(ctx)
	if err != nil {
		s.State = LinkSilent
		return s, nil, fmt.Sprintf("the node did not answer within %s", nodeTimeout)
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

// versionOf returns the main module's version, or the commit if it has none.
func versionOf(b exe.Build) string {
	if b.ModuleVersion != "" && b.ModuleVersion != "(devel)" {
		return b.ModuleVersion
	}
	return b.Settings["vcs.revision"]
}
