// Package symbols gets a stripped target its debug information: it has the target's
// twin built on the host, and uploads the twin's debug sections to the node.
package symbols

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/symbols/twin"
)

// What a session may do for a stripped target.
const (
	Ask   = "ask"   // use the symbols that have been built, else say how to build them
	Auto  = "auto"  // build them
	Never = "never" // refuse the target
)

// Config is what debugging a stripped target needs.
type Config struct {
	Mode    string        // the user's setting, which an IDE's configuration overrides
	Root    string        // where the target's source is on the host
	Host    recipe.Host   // this machine
	Twins   *twin.Builder // a session sets its Progress
	Command string        // builds the symbols of this target by hand, for messages
}

// Result is what has been done for a target.
type Result struct {
	Target   api.Target      `json:"target"`
	Needless bool            `json:"needless,omitempty"` // the target has debug information of its own
	Recipe   *recipe.Recipe  `json:"recipe,omitempty"`
	Kept     *twin.DebugFile `json:"kept,omitempty"`
	Built    bool            `json:"built"` // just now
	Sent     bool            `json:"sent"`  // to the node, just now
	Send     time.Duration   `json:"send"`  // how long that took, ns
}

// Build builds the debug sections of a stripped target's twin, unless they are kept
// from an earlier build, and uploads them to the node.
func Build(ctx context.Context, lc link.Config, c Config) (*Result, error) {
	l, err := link.Dial(ctx, lc)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	r := &Result{}
	if r.Target, err = l.Target(ctx); err != nil {
		return nil, err
	}
	if r.Needless = !r.Target.Build.Stripped; r.Needless {
		return r, nil
	}
	c.Mode = Auto
	return r, c.Provide(ctx, l, r)
}

// Explain works out how the target was built and whether its symbols are kept, and
// changes nothing.
func Explain(ctx context.Context, lc link.Config, c Config) (*Result, error) {
	l, err := link.Dial(ctx, lc)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	r := &Result{}
	if r.Target, err = l.Target(ctx); err != nil {
		return nil, err
	}
	r.Needless = !r.Target.Build.Stripped
	if r.Recipe, err = c.readRecipe(ctx, l); err != nil {
		return nil, err
	}
	r.Kept, err = c.find(ctx, l)
	return r, err
}

// Remove removes all symbols on the node, and on this machine those and what is kept
// to build them faster.
func Remove(ctx context.Context, lc link.Config, c Config) (api.RemovedSymbols, error) {
	l, err := link.Dial(ctx, lc)
	if err != nil {
		return api.RemovedSymbols{}, err
	}
	defer l.Close()
	r, err := l.RemoveSymbols(ctx)
	return r, errors.Join(err, c.Twins.Remove())
}

// Provide has the symbols of r.Target on this machine and on the node when it returns
// nil, and fills in the rest of r. Unless c.Mode is [Auto], it builds none.
func (c Config) Provide(ctx context.Context, l *link.Link, r *Result) (err error) {
	if r.Kept, err = c.find(ctx, l); err != nil {
		return err
	}
	if r.Kept == nil {
		if c.Mode != Auto {
			return diag.Errorf(diag.TargetStripped, "%s (pid %d) carries no debug information, and its symbols have not been built", r.Target.Exe, r.Target.PID).
				WithHint("run: %s", c.Command)
		}
		if r.Recipe, err = c.readRecipe(ctx, l); err != nil {
			return err
		}
		if r.Kept, err = c.Twins.Build(ctx, r.Recipe, c.Root, l.Client); err != nil {
			return err
		}
		r.Built = true
	}
	start := time.Now()
	r.Sent, err = upload(ctx, l, r.Kept)
	r.Send = time.Since(start)
	return err
}

// AreKept reports whether the symbols of the link's stripped target are kept on this
// machine. A target that c.Mode forbids to debug is an error.
func (c Config) AreKept(ctx context.Context, l *link.Link, t api.Target) (bool, error) {
	if c.Mode == Never {
		return false, RefuseStripped(t)
	}
	kept, err := c.find(ctx, l)
	return kept != nil, err
}

// RefuseStripped is the error for a stripped target with [Never].
func RefuseStripped(t api.Target) error {
	return diag.Errorf(diag.TargetStripped, "%s (pid %d) carries no debug information, and symbols are not to be used (never)", t.Exe, t.PID).
		WithHint("leave out --symbols never, or run a build with debug information on the node")
}

// find returns the kept debug file of the link's target, nil if there is none.
func (c Config) find(ctx context.Context, l *link.Link) (*twin.DebugFile, error) {
	p, err := l.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	return c.Twins.Find(p)
}

func (c Config) readRecipe(ctx context.Context, l *link.Link) (*recipe.Recipe, error) {
	o, err := l.Origin(ctx)
	if err != nil {
		return nil, err
	}
	return recipe.New(&o, c.Host)
}

// upload stores a debug file on the node, unless it is there.
func upload(ctx context.Context, l *link.Link, k *twin.DebugFile) (sent bool, err error) {
	has, err := l.HasSymbols(ctx, k.Hash)
	if err != nil || has {
		return false, err
	}
	f, err := os.Open(k.Path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	packed, pack := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pack.CloseWithError(remote.Compress(pack, f))
	}()
	stderr, status, err := l.RunSubcommand(ctx, api.SymbolsArgs(k.Hash), packed)
	packed.Close()
	<-done
	switch {
	case err != nil:
		return false, fmt.Errorf("put the symbols on the node: %w", err)
	case status != 0:
		return false, diag.Errorf(diag.AgentUpload, "the symbols could not be stored on the node: %s", stderr)
	}
	return true, nil
}
