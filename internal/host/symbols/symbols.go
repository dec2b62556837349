// Package symbols provides the debug information of a stripped target: it builds the
// target's twin on the host (package twin), and uploads its debug sections to the node.
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

// What to do about a stripped target, see Config.Mode.
const (
	Ask    = "ask"    // use symbols that were built before; otherwise the function table must do
	Auto   = "auto"   // build them if needed; if that fails, the function table must do
	Never  = "never"  // use the function table, without looking for symbols
	Refuse = "refuse" // use symbols that were built before; otherwise fail, with a hint
)

// Config says how to get the symbols of a stripped target.
type Config struct {
	Mode    string        // the user's setting; an IDE's configuration overrides it
	Root    string        // where the target's source is on the host
	Host    recipe.Host   // this machine
	Twins   *twin.Builder // each session sets Progress in a copy
	Command string        // the command that builds this target's symbols, for messages
}

// Result says what was done for a target.
type Result struct {
	Target   api.Target      `json:"target"`
	Needless bool            `json:"needless,omitempty"` // the target has debug information of its own
	Recipe   *recipe.Recipe  `json:"recipe,omitempty"`
	Kept     *twin.DebugFile `json:"kept,omitempty"`
	Built    bool            `json:"built"` // by this call
	Sent     bool            `json:"sent"`  // to the node, by this call
	Send     time.Duration   `json:"send"`  // how long that took, in ns
}

// Build builds the symbols of a stripped target, unless the host has them from an earlier
// build, and uploads them to the node.
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

// Explain finds out how the target was built and whether the host has its symbols, without
// changing anything.
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

// Remove removes all symbols from the node, and all symbols and build caches from the
// host.
func Remove(ctx context.Context, lc link.Config, c Config) (api.RemovedSymbols, error) {
	l, err := link.Dial(ctx, lc)
	if err != nil {
		return api.RemovedSymbols{}, err
	}
	defer l.Close()
	r, err := l.RemoveSymbols(ctx)
	return r, errors.Join(err, c.Twins.Remove())
}

// Provide makes sure that host and node have the symbols of r.Target, and fills in the rest
// of r. It builds them only if c.Mode is [Auto].
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

// AreKept reports whether the host has the symbols of the link's stripped target.
func (c Config) AreKept(ctx context.Context, l *link.Link) (bool, error) {
	kept, err := c.find(ctx, l)
	return kept != nil, err
}

// find returns the debug file of the link's target, nil if the host has none.
func (c Config) find(ctx context.Context, l *link.Link) (*twin.DebugFile, error) {
	p, err := l.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	return c.Twins.Find(p)
}

// readRecipe returns the recipe for the twin of the link's target.
func (c Config) readRecipe(ctx context.Context, l *link.Link) (*recipe.Recipe, error) {
	o, err := l.Origin(ctx)
	if err != nil {
		return nil, err
	}
	return recipe.New(&o, c.Host)
}

// upload uploads a debug file, unless the node has it.
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
	packed, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(remote.Compress(w, f))
	}()
	stderr, status, err := l.RunSubcommand(ctx, api.SymbolsArgs(k.Hash), packed)
	packed.Close()
	<-done
	switch {
	case err != nil:
		return false, fmt.Errorf("upload the symbols: %w", err)
	case status != 0:
		return false, diag.Errorf(diag.AgentUpload, "cannot store the symbols on the node: %s", stderr)
	}
	return true, nil
}
