package serve

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"sync"
	"sync/atomic"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
	"github.com/dapbridge/dapbridge/internal/host/symbols/twin"
	"github.com/dapbridge/dapbridge/pathmap"
)

// dialer implements [bridge.Dialer]. If the link was lost, the next session or the sync
// dials it again.
type dialer struct {
	cfg       Config
	caps      json.RawMessage
	downloads *source.Downloads
	mapper    *source.Mapper
	symbols   atomic.Pointer[api.Symbols] // of a stripped target; nil until they are needed
	last      atomic.Pointer[link.Link]   // like link, for readers that must not wait for mu

	mu   sync.Mutex
	link *link.Link
}

// newDialer returns a dialer with its first link.
func newDialer(ctx context.Context, c Config) (*dialer, error) {
	l, err := link.Dial(ctx, c.Link)
	if err != nil {
		return nil, err
	}
	d := &dialer{cfg: c, caps: l.Hello().Capabilities, downloads: source.NewDownloads(), mapper: &source.Mapper{Config: c.Source}, link: l}
	d.last.Store(l)
	return d, nil
}

// Capabilities implements [bridge.Dialer].
func (d *dialer) Capabilities() json.RawMessage { return d.caps }

// connect returns the link, dialing it if there is none or it was lost.
func (d *dialer) connect(ctx context.Context) (*link.Link, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link != nil && d.link.IsAlive() {
		return d.link, nil
	}
	if d.link != nil {
		d.log().Info("the link to the node was lost; reconnecting")
		d.link.Close()
		d.link = nil
	}
	l, err := link.Dial(ctx, d.cfg.Link)
	if err != nil {
		return nil, err
	}
	d.link = l
	d.last.Store(l)
	return l, nil
}

// close stops the downloads and closes the link.
func (d *dialer) close() error {
	d.downloads.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == nil {
		return nil
	}
	err := d.link.Close()
	d.link = nil
	return err
}

// Dial implements [bridge.Dialer]. Only attaching shows whether the link still works, and
// whether the target is stripped. So if the link turns out to be lost, Dial tries once
// more; if the target is stripped, it provides the symbols and tries again.
func (d *dialer) Dial(ctx context.Context, o bridge.DialOptions) (bridge.Session, error) {
	c := d.cfg.Symbols
	if o.Symbols != "" {
		c.Mode = o.Symbols
	}
	p := api.AttachParams{Protocol: api.DAP, Linger: d.cfg.Linger}
	if o.Protocol == bridge.RPC {
		p.Protocol = api.JSONRPC
	}
	if p.FunctionTable = c.Mode == symbols.Never; !p.FunctionTable {
		p.Symbols = d.symbols.Load()
	}
	s, err := d.attach(ctx, p)
	if errors.Is(err, &diag.Error{Code: diag.LinkLost}) && ctx.Err() == nil {
		s, err = d.attach(ctx, p)
	}
	var why error
	if errors.Is(err, &diag.Error{Code: diag.TargetStripped}) && ctx.Err() == nil && !p.FunctionTable {
		s, why, err = d.attachStripped(ctx, p, c, o)
	}
	if p.FunctionTable && errors.Is(err, &diag.Error{Code: diag.TargetStripped}) {
		err = diag.Errorf(diag.TargetStripped, "%w", err).WithHint("run: %s, and do not set symbols to never", c.Command)
	}
	if err != nil {
		return nil, err
	}
	d.describeTable(s, c, why)
	return s, nil
}

// attachStripped provides the symbols of a stripped target and attaches. If they cannot be
// used, for the returned reason, it attaches with the function table, unless c.Mode
// refuses that.
func (d *dialer) attachStripped(ctx context.Context, p api.AttachParams, c symbols.Config, o bridge.DialOptions) (s *session, why, err error) {
	why = d.provideSymbols(ctx, c, o)
	switch {
	case why == nil:
		p.Symbols = d.symbols.Load()
	case ctx.Err() != nil || c.Mode == symbols.Refuse || errors.Is(why, &diag.Error{Code: diag.LinkLost}):
		return nil, nil, why
	default:
		p.Symbols, p.FunctionTable = nil, true
	}
	if s, err = d.attach(ctx, p); errors.Is(err, &diag.Error{Code: diag.TargetStripped}) {
		err = diag.Errorf(diag.TargetStripped, "%w", err).WithHint("run: %s", c.Command)
	}
	return s, why, err
}

// describeTable tells the user what a session lacks that has no more than the function
// table. why is the reason for which symbols are not used, nil if they were not looked
// for.
func (d *dialer) describeTable(s *session, c symbols.Config, why error) {
	if s.table == nil {
		return
	}
	s.noVariables = c.NoVariables()
	line := c.DescribeFunctionTable(s.target, *s.table, why)
	d.log().Warn(diag.EscapeLine(line))
	s.tellUser(line)
}

// attach starts a session, with p but its token. It opens the session's channel while the
// worker attaches, and cancels that if the channel fails.
func (d *dialer) attach(ctx context.Context, p api.AttachParams) (*session, error) {
	l, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	l.MarkDebugged()
	p.Token = api.NewToken()
	s := &session{link: l, token: p.Token, lease: d.cfg.Link.Lease}
	ctx, cancel := context.WithCancelCause(ctx)
	waitForHost := d.cfg.Source.ReadHost(ctx)
	defer waitForHost() // after cancel
	defer cancel(nil)
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		var err error
		if s.cmd, err = l.Join(ctx, s.token, cancel); err != nil {
			cancel(err)
		}
	}()
	r, err := l.Attach(ctx, p)
	<-joined
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, s.giveUp(err)
	}
	s.target, s.table = r.Target, r.FunctionTable
	s.files = d.cfg.Source.NewFiles(l.Client, d.downloads, r.Target)
	if w := l.Hello().Debugger.Warning(r.Target.Build.GoVersion); w != "" {
		d.log().Warn(diag.Escape(w))
		s.tellUser(w)
	}
	s.paths = d.mapPaths(ctx, s, waitForHost)
	return s, nil
}

// giveUp ends a session that could not start, and returns why it could not.
func (s *session) giveUp(why error) error {
	ctx, cancel := context.WithTimeout(context.Background(), link.ReleaseTimeout)
	defer cancel()
	if err := s.End(ctx); errors.Is(err, &diag.Error{Code: diag.LinkLost}) {
		return err // the cause
	}
	return why
}

// mapPaths returns the path map of a session, and starts to download the modules that the
// host lacks. It returns nil on an error: a session without a map is better than none.
func (d *dialer) mapPaths(ctx context.Context, s *session, waitForHost func() (gosource.Source, error)) *pathmap.Map {
	m, err := d.mapper.MapTarget(ctx, s.link.Client, s.target, waitForHost)
	if err != nil {
		d.log().Warn("cannot map paths", "reason", err)
		return nil
	}
	if why := m.Problem(); why != "" {
		d.log().Warn("cannot map the workspace's paths", "reason", why)
	}
	fetchable, refused := m.ModulesToFetch()
	for module, err := range refused {
		d.log().Debug("source comes from the node", "module", module, "reason", err)
	}
	d.downloads.Start(m.Fetcher, fetchable, func(line string) {
		d.log().Info(line)
		s.tellUser(line)
	})
	return m.Paths
}

// provideSymbols makes sure that the node has the symbols of the stripped target, and
// records them for the next attach, with the process that they are for.
func (d *dialer) provideSymbols(ctx context.Context, c symbols.Config, o bridge.DialOptions) error {
	l, err := d.connect(ctx)
	if err != nil {
		return err
	}
	t, err := l.Target(ctx)
	if err != nil {
		return err
	}
	twins := *c.Twins
	if o.Progress != nil {
		twins.Progress = func(s twin.Step) { o.Progress(describeStep(s, path.Base(t.Exe))) }
	}
	c.Twins = &twins
	r := &symbols.Result{Target: t}
	if err := c.Provide(ctx, l, r); err != nil {
		return err
	}
	d.symbols.Store(&api.Symbols{Hash: r.Kept.Hash, PID: t.PID, StartTicks: t.StartTicks, BuildID: t.Build.BuildID})
	return nil
}

// describeStep returns the progress of building a program's symbols, for the user.
func describeStep(s twin.Step, name string) bridge.Progress {
	text := map[string]string{
		twin.Sources:  "building the symbols of " + name + ": its source",
		twin.Packages: "building the symbols of " + name + ": its packages",
		twin.Proof:    "building the symbols of " + name + ": comparing it with the node's",
	}[s.Phase]
	return bridge.Progress{Text: text, Done: s.Done, Total: s.Total}
}

// findSymbols returns "kept" or "missing" for a stripped target, "unused" if its symbols are
// not to be used, "" for a target that needs none.
func (d *dialer) findSymbols(ctx context.Context, t api.Target) (string, error) {
	switch {
	case !t.Build.Stripped || d.cfg.Link.Dlv != "": // a running dlv has its own
		return "", nil
	case d.cfg.Symbols.Mode == symbols.Never:
		return "unused", nil
	}
	kept, err := d.cfg.Symbols.AreKept(ctx, d.link)
	switch {
	case err != nil:
		return "", err
	case kept:
		return "kept", nil
	}
	return "missing", nil
}
