package daemon

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/symbols/twin"
)

// What a session may do for a stripped target.
const (
	SymbolsAsk   = "ask"   // take what has been built, else say how to build it
	SymbolsAuto  = "auto"  // build it
	SymbolsNever = "never" // refuse the target
)

// Symbols is what the daemon needs to debug stripped targets.
type Symbols struct {
	Mode    string        // the user's setting, which an IDE's configuration overrides
	Host    recipe.Host   // this machine
	Twins   *twin.Builder // its Progress is the daemon's to set
	Command string        // builds the symbols of this target by hand, for messages
}

// SymbolsResult is what BuildSymbols has done.
type SymbolsResult struct {
	Target   api.Target      `json:"target"`
	Needless bool            `json:"needless,omitempty"` // the target has debug information of its own
	Recipe   *recipe.Recipe  `json:"recipe,omitempty"`
	Kept     *twin.DebugFile `json:"kept,omitempty"`
	Built    bool            `json:"built"` // just now
	Sent     bool            `json:"sent"`  // to the node, just now
	Send     time.Duration   `json:"send"`  // how long that took, ns
}

// BuildSymbols builds the debug sections of a stripped target's twin, unless
// they have been built, and puts them on the node. With only it works out the
// recipe and does nothing else.
func BuildSymbols(ctx context.Context, c Config, only bool) (*SymbolsResult, error) {
	l, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.close()
	r := &SymbolsResult{}
	if r.Target, err = l.client.Target(ctx); err != nil {
		return nil, err
	}
	if r.Needless = !r.Target.Build.Stripped; r.Needless && !only {
		return r, nil
	}
	if only {
		if r.Recipe, err = l.recipe(ctx, c.Symbols.Host); err != nil {
			return nil, err
		}
		p, err := l.client.Fingerprint(ctx)
		if err != nil {
			return nil, err
		}
		r.Kept, err = c.Symbols.Twins.Find(p)
		return r, err
	}
	return r, l.symbols(ctx, c, r, SymbolsAuto)
}

// RemoveSymbols removes all symbols on the node, and on this machine those and
// what was kept to build them faster.
func RemoveSymbols(ctx context.Context, c Config) (api.RemovedSymbols, error) {
	l, err := dial(ctx, c)
	if err != nil {
		return api.RemovedSymbols{}, err
	}
	defer l.close()
	r, err := l.client.RemoveSymbols(ctx)
	return r, errors.Join(err, c.Symbols.Twins.Remove())
}

func (l *Link) recipe(ctx context.Context, h recipe.Host) (*recipe.Recipe, error) {
	o, err := l.client.Origin(ctx)
	if err != nil {
		return nil, err
	}
	return recipe.New(&o, h)
}

// symbols fills in r: the symbols of r's target are kept here and on the node
// when it returns nil.
func (l *Link) symbols(ctx context.Context, c Config, r *SymbolsResult, mode string) error {
	p, err := l.client.Fingerprint(ctx)
	if err != nil {
		return err
	}
	if r.Kept, err = c.Symbols.Twins.Find(p); err != nil {
		return err
	}
	if r.Kept == nil {
		if mode != SymbolsAuto {
			return diag.Errorf(diag.TargetStripped, "%s (pid %d) carries no debug information, and its symbols have not been built", r.Target.Exe, r.Target.PID).
				WithHint("run: %s", c.Symbols.Command)
		}
		if r.Recipe, err = l.recipe(ctx, c.Symbols.Host); err != nil {
			return err
		}
		if r.Kept, err = c.Symbols.Twins.Build(ctx, r.Recipe, c.Root, l.client); err != nil {
			return err
		}
		r.Built = true
	}
	start := time.Now()
	r.Sent, err = l.send(ctx, r.Kept)
	r.Send = time.Since(start)
	return err
}

// send puts a debug file on the node, if it is not there.
func (l *Link) send(ctx context.Context, k *twin.DebugFile) (sent bool, err error) {
	has, err := l.client.HasSymbols(ctx, k.Hash)
	if err != nil || has {
		return false, err
	}
	f, err := os.Open(k.Path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	packed, pack := io.Pipe()
	packing := make(chan struct{})
	go func() {
		defer close(packing)
		pack.CloseWithError(compress(pack, f))
	}()
	argv := append([]string{"/proc/" + strconv.Itoa(l.client.Hello().PID) + "/exe"}, api.SymbolsArgs(k.Hash)...)
	_, said, exit, err := remote.Run(ctx, l.conn, l.conn.AsRoot(argv), packed)
	packed.Close()
	<-packing
	switch {
	case err != nil:
		return false, fmt.Errorf("put the symbols on the node: %w", err)
	case exit != 0:
		return false, diag.Errorf(diag.AgentUpload, "the symbols could not be stored on the node: %s", said)
	}
	return true, nil
}

// compress writes r to w by gzip, lightly: the line is a local one. Each write
// becomes a packet, so it writes large pieces.
func compress(w io.Writer, r io.Reader) error {
	buffered := bufio.NewWriterSize(w, 32<<10)
	z, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, r); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// prepare makes the symbols of the stripped target ready on the node and
// remembers for which process.
func (d *dialer) prepare(ctx context.Context, w bridge.Wish) error {
	l, err := d.connected(ctx)
	if err != nil {
		return err
	}
	mode := d.cfg.Symbols.Mode
	if w.Symbols != "" {
		mode = w.Symbols
	}
	t, err := l.client.Target(ctx)
	if err != nil {
		return err
	}
	if mode == SymbolsNever {
		return refuseStripped(t)
	}
	c := d.cfg
	twins := *c.Symbols.Twins
	if w.Progress != nil {
		twins.Progress = func(s twin.Step) { w.Progress(progressOf(s, path.Base(t.Exe))) }
	}
	c.Symbols.Twins = &twins
	r := &SymbolsResult{Target: t}
	if err := l.symbols(ctx, c, r, mode); err != nil {
		return err
	}
	d.symbols.Store(&api.Symbols{Hash: r.Kept.Hash, PID: t.PID, StartTicks: t.StartTicks, BuildID: t.Build.BuildID})
	return nil
}

func refuseStripped(t api.Target) error {
	return diag.Errorf(diag.TargetStripped, "%s (pid %d) carries no debug information, and symbols are not to be used (never)", t.Exe, t.PID).
		WithHint("leave out --symbols never, or run a build with debug information on the node")
}

// progressOf says in words how far the build of a program's twin is.
func progressOf(s twin.Step, name string) bridge.Progress {
	text := map[string]string{
		twin.Sources:  "building the symbols of " + name + ": its source",
		twin.Packages: "building the symbols of " + name + ": its packages",
		twin.Proof:    "building the symbols of " + name + ": comparing it with the node's",
	}[s.Phase]
	return bridge.Progress{Text: text, Done: s.Done, Total: s.Total}
}

// symbolsNow says whether a stripped target's symbols are there: "kept",
// "missing", or "" if it needs none.
func (d *dialer) symbolsNow(ctx context.Context, t api.Target) (string, error) {
	switch {
	case !t.Build.Stripped || d.cfg.Dlv != "": // which has found them by itself
		return "", nil
	case d.cfg.Symbols.Mode == SymbolsNever:
		return "", refuseStripped(t)
	}
	p, err := d.link.client.Fingerprint(ctx)
	if err != nil {
		return "", err
	}
	kept, err := d.cfg.Symbols.Twins.Find(p)
	if err != nil || kept == nil {
		return "missing", err
	}
	return "kept", nil
}
