// Package srcsync mirrors the workspace's source to the node, once ([Run]) or continuously
// ([Syncer]). It finds the source's directory on the node, and reconnects if the node is
// lost. Package filesync does the comparing and copying.
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

// Config says what to copy, and where.
type Config struct {
	Link      link.Config
	Source    source.Config         // Root is the tree to copy; the rest serves to derive To
	To        string                // directory on the node; "" for the one that the target was built in
	Force     bool                  // copy even if the directory holds something else
	RecordDir string                // directory of the records, which say what was copied where
	Progress  func(done, total int) // counts the changes of a run; may be nil
}

// Report is the result of one run.
type Report struct {
	Dir     string  `json:"dir"`
	To      string  `json:"to"`
	Seconds float64 `json:"seconds"` // not counting the connection to the node
	filesync.Report
	// Changes is set only by [Plan].
	Changes []Change `json:"changes,omitempty"`
}

// Change is a change that a run would make.
type Change struct {
	What string `json:"what"` // send or remove
	Path string `json:"path"`
}

// DidSomething reports whether a run has changed, kept or failed to copy any file.
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

// Run mirrors the tree to the node.
func Run(ctx context.Context, c Config) (Report, error) {
	var r Report
	return r, c.withMirror(ctx, false, func(ctx context.Context, to string, m *filesync.Mirror) (err error) {
		r, err = c.fullScan(ctx, to, m)
		return err
	})
}

// Plan returns what [Run] would do, without changing anything.
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

// Verify compares both trees, including their contents, without changing anything.
func Verify(ctx context.Context, c Config) (VerifyReport, error) {
	r := VerifyReport{Dir: c.Source.Root, Differ: []filesync.PathProblem{}}
	return r, c.withMirror(ctx, true, func(ctx context.Context, to string, m *filesync.Mirror) error {
		r.To = to
		files, differ, err := m.Verify(ctx)
		r.Files, r.Differ = files, append(r.Differ, differ...)
		return err
	})
}

// fullScan compares the whole tree with the copy, and makes the copy equal.
func (c Config) fullScan(ctx context.Context, to string, m *filesync.Mirror) (Report, error) {
	start := time.Now()
	report, err := m.SyncAll(ctx, c.Force)
	return Report{Dir: m.Dir, To: to, Seconds: time.Since(start).Seconds(), Report: report}, explainForeign(to, err)
}

// explainForeign adds the code to the error for a directory that holds something else.
func explainForeign(to string, err error) error {
	var foreign *filesync.ForeignError
	if errors.As(err, &foreign) {
		return diag.Errorf(diag.SyncRefused, "refused to write to %s on the node: %w", to, err)
	}
	return err
}

// withMirror finds the directory on the node, connects, and calls f with a mirror that
// must only be read from if readOnly is set.
func (c Config) withMirror(ctx context.Context, readOnly bool, f func(ctx context.Context, to string, m *filesync.Mirror) error) error {
	to, err := c.Destination(ctx)
	if err != nil {
		return err
	}
	conn, hangUp, err := c.dialNode(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	return c.receive(ctx, conn, hangUp, to, readOnly, func(ctx context.Context, m *filesync.Mirror) error { return f(ctx, to, m) })
}

// dialNode is a [Dialer] that makes a connection of its own.
func (c Config) dialNode(ctx context.Context) (link.Conn, func(), error) {
	conn, err := link.DialNode(ctx, c.Link)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { conn.Close() }, nil
}

// Destination returns the directory on the node for the copy. Unless c.To is set, it
// connects to the node to ask for the target.
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

// deriveDestination returns the tree's directory on the node according to the target's
// binary.
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

// receive starts a receiver on the node and calls f with a mirror that uses it. If the
// receiver's handshake takes longer than the idle timeout, hangUp is called. The context
// of f ends with the receiver. Once receive has returned, nothing writes to the copy.
func (c Config) receive(ctx context.Context, conn link.Conn, hangUp func(), to string, readOnly bool, f func(context.Context, *filesync.Mirror) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	cmd, err := link.StartAgent(ctx, conn, c.Link, api.ReceiveArgs(to, readOnly, c.Force))
	if err != nil {
		return err
	}
	wg.Go(func() { link.CopyLog(c.Link.Log, "receiver", cmd.Stderr) })
	defer cmd.Close()
	defer context.AfterFunc(ctx, cmd.Close)() // the receiver then removes unfinished files
	timeout := conn.IdleTimeout()
	timer := time.AfterFunc(timeout, func() { hangUp(); cmd.Close() })
	client, err := receiver.Connect(cmd.Stdout, cmd.Stdin, cmd.Close)
	if !timer.Stop() {
		err = diag.Errorf(diag.NodeSilent, "the receiver on the node sent no handshake within %s", timeout)
	}
	if err != nil {
		return err
	}
	deltas := &rsync.Transfer{Self: c.Link.Agent.Self, Node: conn, Top: to}
	m := &filesync.Mirror{Dir: c.Source.Root, Client: client, Deltas: deltas, Progress: c.Progress}
	if m.Record, err = c.openRecord(to, readOnly); err != nil {
		return diag.Errorf(diag.WriteFailed, "open the record of earlier copies: %w", err)
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

// openRecord opens the record, for writing unless readOnly is set. The receiver's lock on
// the node's directory excludes other writers.
func (c Config) openRecord(to string, readOnly bool) (*filesync.Record, error) {
	name := c.recordFile(to)
	if readOnly {
		return filesync.ReadRecord(name)
	}
	return filesync.OpenRecord(name, filesync.Copy{Dir: c.Source.Root, Node: c.Link.SSH.Node.Name, To: to})
}

// recordFile returns the path of the record for a directory of this node.
func (c Config) recordFile(to string) string {
	sum := sha256.Sum256([]byte(c.Link.SSH.Node.Name + "\x00" + to))
	return filepath.Join(c.RecordDir, hex.EncodeToString(sum[:16])+".jsonl")
}
