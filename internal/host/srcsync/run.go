// Package srcsync copies the workspace's source to the node: once ([Run]), or for as
// long as it changes ([Syncer]). Package filesync compares and copies; this one knows
// where on the node the source belongs, and what to do when the node is lost.
package srcsync

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/host/filesync/receiver"
	"github.com/dapbridge/dapbridge/internal/host/filesync/rsync"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/source"
)

// Config says what is copied where.
type Config struct {
	Link      link.Config
	Source    source.Config // its Root is the tree; the rest finds where that belongs
	To        string        // the node's directory; "" for the one that the target was built in
	Force     bool          // also to a directory that holds something else
	RecordDir string        // records what was put where
	Progress  func(done, total int)
}

// Report is the result of one run.
type Report struct {
	Dir     string  `json:"dir"`
	To      string  `json:"to"`
	Seconds float64 `json:"seconds"` // without connecting to the node
	filesync.Report
	// Changes are what would be done, of [Plan] alone.
	Changes []Change `json:"changes,omitempty"`
}

// Change is something to do: send or remove.
type Change struct {
	What string `json:"what"`
	Path string `json:"path"`
}

// DidSomething reports whether a run has anything to tell.
func (r Report) DidSomething() bool {
	return r.Files+r.Removed+len(r.Kept)+len(r.Failed) > 0
}

// VerifyReport lists how the trees differ.
type VerifyReport struct {
	Dir    string                 `json:"dir"`
	To     string                 `json:"to"`
	Files  int                    `json:"files"` // of the host's tree
	Differ []filesync.PathProblem `json:"differ"`
}

// Run makes the node's copy equal to the tree.
func Run(ctx context.Context, c Config) (Report, error) {
	var r Report
	return r, c.withMirror(ctx, false, func(ctx context.Context, to string, m *filesync.Mirror) (err error) {
		r, err = c.fullScan(ctx, to, m)
		return err
	})
}

// Plan returns what [Run] would do, and changes nothing.
func Plan(ctx context.Context, c Config) (Report, error) {
	r := Report{Dir: c.Source.Root}
	return r, c.withMirror(ctx, true, func(ctx context.Context, to string, m *filesync.Mirror) error {
		changes, report, err := m.Plan(ctx, c.Force)
		r.To, r.Report = to, report
		for _, change := range changes {
			what := "send"
			if change.IsRemoval() {
				what = "remove"
			}
			r.Changes = append(r.Changes, Change{what, change.Want.Path})
		}
		return explainForeign(to, err)
	})
}

// Verify compares all of both trees, content included, and changes nothing.
func Verify(ctx context.Context, c Config) (VerifyReport, error) {
	r := VerifyReport{Dir: c.Source.Root, Differ: []filesync.PathProblem{}}
	return r, c.withMirror(ctx, true, func(ctx context.Context, to string, m *filesync.Mirror) error {
		r.To = to
		files, differ, err := m.Verify(ctx)
		r.Files, r.Differ = files, append(r.Differ, differ...)
		return err
	})
}

// fullScan compares the whole tree with the copy, and makes them equal.
func (c Config) fullScan(ctx context.Context, to string, m *filesync.Mirror) (Report, error) {
	start := time.Now()
	report, err := m.SyncAll(ctx, c.Force)
	return Report{Dir: m.Dir, To: to, Seconds: time.Since(start).Seconds(), Report: report}, explainForeign(to, err)
}

// explainForeign says what to do about a directory that holds something else.
func explainForeign(to string, err error) error {
	var foreign *filesync.ForeignError
	if errors.As(err, &foreign) {
		return diag.Errorf(diag.SyncRefused, "%s on the node is not written to: %w", to, err)
	}
	return err
}

// withMirror finds the copy's directory, connects to the node and runs f with a
// mirror, which with look only reads.
func (c Config) withMirror(ctx context.Context, look bool, f func(ctx context.Context, to string, m *filesync.Mirror) error) error {
	to, err := c.Destination(ctx)
	if err != nil {
		return err
	}
	conn, hangUp, err := c.dialNode(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	return c.receive(ctx, conn, hangUp, to, look, func(ctx context.Context, m *filesync.Mirror) error { return f(ctx, to, m) })
}

// dialNode is a [Dialer] that makes a connection of its own.
func (c Config) dialNode(ctx context.Context) (link.Conn, func(), error) {
	conn, err := link.DialNode(ctx, c.Link)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { conn.Close() }, nil
}

// Destination returns the node's directory for the copy.
func (c Config) Destination(ctx context.Context) (string, error) {
	info, err := os.Stat(c.Source.Root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", c.Source.Root)
	}
	if err != nil {
		return "", diag.Errorf(diag.Usage, "%w", err).WithHint("name the directory to copy")
	}
	if c.To != "" {
		to := path.Clean(c.To)
		return to, filesync.CheckDestination(to, c.Force)
	}
	l, err := link.Dial(ctx, c.Link)
	if err != nil {
		return "", err
	}
	to, err := c.deriveDestination(ctx, l)
	if err = errors.Join(err, l.Close()); err != nil {
		return "", err
	}
	return to, filesync.CheckDerivedDestination(to)
}

// deriveDestination returns where on the node the target's binary says that the tree
// is.
func (c Config) deriveDestination(ctx context.Context, l *link.Link) (string, error) {
	t, err := l.Target(ctx)
	if err != nil {
		return "", err
	}
	m, err := (&source.Mapper{Config: c.Source}).MapTarget(ctx, l.Client, t, c.Source.ReadHost(ctx))
	if err != nil {
		return "", err
	}
	to := m.NodeDir(c.Source.Root)
	if to == "" {
		return "", diag.Errorf(diag.SyncRefused, "it is not known where on the node %s belongs: %s was not built from it, or with -trimpath", c.Source.Root, t.Exe).
			WithHint("name a directory of the node with --to; dapbridge paths shows what is known")
	}
	return to, nil
}

// receive runs f with a receiver on the node that conn leads to. hangUp ends conn,
// unless others use it, when the receiver stays silent for the idle timeout. The
// context that f gets ends with the receiver. Whatever ends f, nobody writes to the
// copy afterwards.
func (c Config) receive(ctx context.Context, conn link.Conn, hangUp func(), to string, look bool, f func(context.Context, *filesync.Mirror) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	cmd, err := link.StartAgent(ctx, conn, c.Link, api.ReceiveArgs(to, look, c.Force))
	if err != nil {
		return err
	}
	wg.Go(func() { link.CopyLog(c.Link.Log, "receiver", cmd.Stderr) })
	defer cmd.Close()
	defer context.AfterFunc(ctx, cmd.Close)() // it removes what it was writing
	timeout := conn.IdleTimeout()
	late := time.AfterFunc(timeout, func() { hangUp(); cmd.Close() })
	client, err := receiver.Connect(cmd.Stdout, cmd.Stdin, cmd.Close)
	if !late.Stop() {
		err = diag.Errorf(diag.NodeSilent, "the receiver's first line did not come within %s", timeout)
	}
	if err != nil {
		return err
	}
	deltas := &rsync.Transfer{Self: c.Link.Agent.Self, Node: conn, Top: to}
	m := &filesync.Mirror{Dir: c.Source.Root, Client: client, Deltas: deltas, Progress: c.Progress}
	if m.Record, err = c.openRecord(to, look); err != nil {
		return diag.Errorf(diag.WriteFailed, "what was copied before: %w", err)
	}
	defer m.Record.Close()
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	wg.Go(func() {
		err := cmd.Wait()
		stop(diag.Errorf(diag.LinkLost, "the node's file receiver has exited: %w", cmp.Or(err, io.EOF)))
	})
	err = f(running, m)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && running.Err() != nil:
		return context.Cause(running)
	}
	return err
}

// openRecord opens the record for writing, or with look for reading. The node's lock
// lets nobody else write to it at the same time.
func (c Config) openRecord(to string, look bool) (*filesync.Record, error) {
	name := c.recordFile(to)
	if look {
		return filesync.ReadRecord(name)
	}
	return filesync.OpenRecord(name, filesync.Copy{Dir: c.Source.Root, Node: c.Link.SSH.Node.Name, To: to})
}

// recordFile is named for the node and the directory there.
func (c Config) recordFile(to string) string {
	sum := sha256.Sum256([]byte(c.Link.SSH.Node.Name + "\x00" + to))
	return filepath.Join(c.RecordDir, hex.EncodeToString(sum[:16])+".jsonl")
}
