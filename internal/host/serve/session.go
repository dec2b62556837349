package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/pathmap"
)

// dialer is the bridge's way to the node. A link that was lost is dialed again
// when the next session wants it.
type dialer struct {
	cfg     Config
	caps    json.RawMessage
	fetches *fetches
	symbols atomic.Pointer[api.Symbols] // of a stripped target; nil before they are needed
	last    atomic.Pointer[Link]        // the link, or the one that was lost, for who must not wait

	mu      sync.Mutex
	link    *Link
	sources processSources // of the target that was looked at last
}

// newDialer makes the first link.
func newDialer(ctx context.Context, c Config) (*dialer, error) {
	l, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	d := &dialer{cfg: c, caps: l.client.Hello().Capabilities, fetches: newFetches(), link: l}
	d.last.Store(l)
	return d, nil
}

// Capabilities implements [bridge.Dialer].
func (d *dialer) Capabilities() json.RawMessage { return d.caps }

// connected returns a link that works, dialing one if need be.
func (d *dialer) connected(ctx context.Context) (*Link, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link != nil && d.link.alive() {
		return d.link, nil
	}
	if d.link != nil {
		d.cfg.Log.Info("the link to the node was lost; connecting again")
		d.link.close()
		d.link = nil
	}
	l, err := dial(ctx, d.cfg)
	if err != nil {
		return nil, err
	}
	d.link = l
	d.last.Store(l)
	return l, nil
}

// close ends the link, and what is being fetched.
func (d *dialer) close() error {
	d.fetches.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == nil {
		return nil
	}
	err := d.link.close()
	d.link = nil
	return err
}

// Dial implements [bridge.Dialer]. Whether a link still stands shows when it is
// used: one that ends then is dialed again, once. So does whether the target is
// stripped.
func (d *dialer) Dial(ctx context.Context, w bridge.Wish) (bridge.Session, error) {
	protocol := api.DAP
	if w.Protocol == bridge.RPC {
		protocol = api.JSONRPC
	}
	s, err := d.attach(ctx, protocol)
	if errors.Is(err, &diag.Error{Code: diag.LinkLost}) && ctx.Err() == nil {
		s, err = d.attach(ctx, protocol)
	}
	if errors.Is(err, &diag.Error{Code: diag.TargetStripped}) && ctx.Err() == nil {
		if s, err = nil, d.prepare(ctx, w); err == nil {
			s, err = d.attach(ctx, protocol)
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// attach starts a session. Its channel is opened while the worker attaches,
// which is given up when the channel fails.
func (d *dialer) attach(ctx context.Context, p api.SessionProtocol) (*session, error) {
	l, err := d.connected(ctx)
	if err != nil {
		return nil, err
	}
	l.debugged.Store(true)
	s := &session{link: l, token: api.NewToken(), lease: d.cfg.Lease}
	ctx, giveUp := context.WithCancelCause(ctx)
	found := d.cfg.lookAround(ctx)
	defer found() // once it has been given up
	defer giveUp(nil)
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		var err error
		if s.cmd, err = l.join(ctx, s.token, giveUp); err != nil {
			giveUp(err)
		}
	}()
	r, err := l.client.Attach(ctx, api.AttachParams{Token: s.token, Protocol: p, Linger: d.cfg.Linger, Symbols: d.symbols.Load()})
	<-joined
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		if endErr := s.End(undo); errors.Is(endErr, &diag.Error{Code: diag.LinkLost}) {
			err = endErr // which is why
		}
		return nil, err
	}
	s.target = r.Target
	s.sources = d.cfg.sources(l, d.fetches, r.Target)
	if w := l.client.Hello().Debugger.Warning(r.Target.Build.GoVersion); w != "" {
		d.cfg.Log.Warn(diag.Escape(w))
		s.say(w)
	}
	s.paths = d.mapPaths(ctx, s, found)
	return s, nil
}

// mapPaths returns the map of a session's paths, and has fetched what the host
// lacks. A session without a map is better than none.
func (d *dialer) mapPaths(ctx context.Context, s *session, found func() (gosource.Source, error)) *pathmap.Map {
	m, err := d.sourceMap(ctx, s.link, s.target, found)
	if err != nil {
		d.cfg.Log.Warn("paths are not mapped", "reason", err)
		return nil
	}
	if why := m.problem(); why != "" {
		d.cfg.Log.Warn("the workspace's paths are not mapped", "reason", why)
	}
	fetchable, refused := m.missing()
	for module, err := range refused {
		d.cfg.Log.Debug("source comes from the node", "module", module, "reason", err)
	}
	d.fetches.begin(m.fetcher, fetchable, func(line string) {
		d.cfg.Log.Info(line)
		s.say(line)
	})
	return m.paths
}

// session is a debug session on the node, as the bridge sees it.
type session struct {
	link   *Link
	token  string
	lease  time.Duration
	cmd    *remote.Cmd // its channel
	target api.Target
	paths  *pathmap.Map

	sources *sources

	saying sync.Mutex
	tell   func(string) // nil before Tell and after the end
	unsaid []string     // before Tell

	ending sync.Mutex
	ended  bool
	endErr error
}

func (s *session) Read(p []byte) (int, error)  { return s.cmd.Stdout.Read(p) }
func (s *session) Write(p []byte) (int, error) { return s.cmd.Stdin.Write(p) }
func (s *session) Map() *pathmap.Map           { return s.paths }
func (s *session) Sources() bridge.Sources     { return s.sources }

func (s *session) Target() bridge.Target {
	t := bridge.Target{Name: path.Base(s.target.Exe), PID: s.target.PID}
	if s.target.Build.Stripped {
		t.Note = optimisedNote
	}
	return t
}

// Tell implements [bridge.Session].
func (s *session) Tell(line func(string)) {
	s.saying.Lock()
	defer s.saying.Unlock()
	s.tell = line
	for _, text := range s.unsaid {
		line(text)
	}
	s.unsaid = nil
}

// say has the user told a line. Besides one on the target's Go, fetching alone
// says something, so that there are few more lines than modules.
func (s *session) say(text string) {
	s.saying.Lock()
	defer s.saying.Unlock()
	text = diag.Escape(text)
	if s.tell == nil {
		s.unsaid = append(s.unsaid, text)
		return
	}
	s.tell(text)
}

// End implements [bridge.Session].
func (s *session) End(ctx context.Context) error {
	s.ending.Lock()
	defer s.ending.Unlock()
	if !s.ended {
		s.ended = true
		s.endErr = s.end(ctx)
		if s.cmd != nil {
			s.cmd.Close()
		}
	}
	return s.endErr
}

func (s *session) end(ctx context.Context) error {
	reason, err := s.link.client.End(ctx)
	switch {
	case errors.Is(err, &diag.Error{Code: diag.LinkLost}) || err != nil && !s.link.alive():
		return diag.Errorf(diag.LinkLost, "the connection to the node was lost; the agent there lets the target go by itself, at the latest after %s", s.lease).
			WithHint("start the session again when the node can be reached")
	case err != nil:
		return fmt.Errorf("end the session on the node: %w", err)
	case reason != "":
		return fmt.Errorf("the session ended on the node: %s", reason)
	}
	return nil
}
