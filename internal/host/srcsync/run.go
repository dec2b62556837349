package daemon

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
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// SyncConfig says what is copied where. The tree is the one at Config.Root.
type SyncConfig struct {
	To    string // the node's directory; "" for the one that the target was built in
	Force bool   // also to a directory that holds something else
	// RecordDir is where it is remembered what was put where.
	RecordDir string
	Progress  func(done, total int) // of the changes of a run; may be nil
	// Standing says that it was copied until now, to To: [WatchSync] then goes on also
	// while the node can't be reached.
	Standing bool
}

// SyncReport is what one run has come to.
type SyncReport struct {
	Dir     string  `json:"dir"`
	To      string  `json:"to"`
	Seconds float64 `json:"seconds"` // without the way to the node
	filesync.Report
	// Changes are what would be done, of [PlanSync] alone.
	Changes []SyncChange `json:"changes,omitempty"`
}

// SyncChange is something that is to be done: send or remove.
type SyncChange struct {
	What string `json:"what"`
	Path string `json:"path"`
}

// VerifyReport is what differs between the trees.
type VerifyReport struct {
	Dir    string                 `json:"dir"`
	To     string                 `json:"to"`
	Files  int                    `json:"files"` // of the host's tree
	Differ []filesync.PathProblem `json:"differ"`
}

// Sync makes the node's copy of the tree be like it.
func Sync(ctx context.Context, c Config, s SyncConfig) (SyncReport, error) {
	var r SyncReport
	return r, withCopy(ctx, c, s, false, func(ctx context.Context, to string, m *filesync.Mirror) error {
		return s.whole(ctx, to, m, &r)
	})
}

// PlanSync tells what [Sync] would do, and changes nothing.
func PlanSync(ctx context.Context, c Config, s SyncConfig) (SyncReport, error) {
	r := SyncReport{Dir: c.Root}
	return r, withCopy(ctx, c, s, true, func(ctx context.Context, to string, m *filesync.Mirror) error {
		changes, report, err := m.Plan(ctx, s.Force)
		r.To, r.Report = to, report
		for _, change := range changes {
			what := "send"
			if change.IsRemoval() {
				what = "remove"
			}
			r.Changes = append(r.Changes, SyncChange{what, change.Want.Path})
		}
		return refusal(to, err)
	})
}

// VerifySync compares all of both trees, and changes nothing.
func VerifySync(ctx context.Context, c Config, s SyncConfig) (VerifyReport, error) {
	r := VerifyReport{Dir: c.Root, Differ: []filesync.PathProblem{}}
	return r, withCopy(ctx, c, s, true, func(ctx context.Context, to string, m *filesync.Mirror) error {
		r.To = to
		files, differ, err := m.Verify(ctx)
		r.Files, r.Differ = files, append(r.Differ, differ...)
		return err
	})
}

// whole runs a full comparison.
func (s SyncConfig) whole(ctx context.Context, to string, m *filesync.Mirror, r *SyncReport) error {
	began := time.Now()
	report, err := m.SyncAll(ctx, s.Force)
	*r = SyncReport{Dir: m.Dir, To: to, Seconds: time.Since(began).Seconds(), Report: report}
	return refusal(to, err)
}

// refusal says what to do about a directory that holds something else.
func refusal(to string, err error) error {
	var foreign *filesync.ForeignError
	if errors.As(err, &foreign) {
		return diag.Errorf(diag.SyncRefused, "%s on the node is not written to: %w", to, err)
	}
	return err
}

// withCopy finds out where the copy belongs, connects to the node and runs f with
// a mirror, which may only look.
func withCopy(ctx context.Context, c Config, s SyncConfig, look bool, f func(ctx context.Context, to string, m *filesync.Mirror) error) error {
	to, err := s.destination(ctx, c)
	if err != nil {
		return err
	}
	return connected(ctx, c, s, to, look, func(ctx context.Context, m *filesync.Mirror) error { return f(ctx, to, m) })
}

// destination returns the node's directory that the copy belongs into.
func (s SyncConfig) destination(ctx context.Context, c Config) (string, error) {
	info, err := os.Stat(c.Root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", c.Root)
	}
	if err != nil {
		return "", diag.Errorf(diag.Usage, "%w", err).WithHint("name the directory to copy")
	}
	if s.To != "" {
		to := path.Clean(s.To)
		return to, filesync.CheckDestination(to, s.Force)
	}
	d, err := newDialer(ctx, c)
	if err != nil {
		return "", err
	}
	to, err := d.placeOf(ctx, c.Root)
	if err = errors.Join(err, d.close()); err != nil {
		return "", err
	}
	return to, filesync.CheckDerivedDestination(to)
}

// placeOf returns where on the node the target's binary says a directory of the
// host is.
func (d *dialer) placeOf(ctx context.Context, dir string) (string, error) {
	t, err := d.link.client.Target(ctx)
	if err != nil {
		return "", err
	}
	m, err := d.sourceMap(ctx, d.link, t, d.cfg.lookAround(ctx))
	if err != nil {
		return "", err
	}
	to := m.place(dir)
	if to == "" {
		return "", diag.Errorf(diag.SyncRefused, "it is not known where on the node %s belongs: %s was not built from it, or with -trimpath", dir, t.Exe).
			WithHint("name a directory of the node's with --to; dapbridge paths shows what is known")
	}
	return to, nil
}

// connected runs f with a connection of its own. Whatever ends it, nobody writes
// to the copy afterwards.
func connected(ctx context.Context, c Config, s SyncConfig, to string, look bool, f func(context.Context, *filesync.Mirror) error) error {
	c = c.withIdleTimeout()
	conn, err := dialNode(ctx, c.SSH)
	if err != nil {
		return err
	}
	defer conn.Close()
	return received(ctx, conn, func(*remote.Cmd) { conn.Close() }, c, s, to, look, f)
}

// received runs f with a receiver on the node that conn leads to. giveUp ends one
// that says nothing within c.IdleTimeout.
func received(ctx context.Context, conn nodeConn, giveUp func(*remote.Cmd), c Config, s SyncConfig, to string, look bool, f func(context.Context, *filesync.Mirror) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	cmd, err := startAgent(ctx, conn, c, api.ReceiveArgs(to, look, s.Force))
	if err != nil {
		return err
	}
	wg.Go(func() { copyLog(c.Log, "receiver", cmd.Stderr) })
	defer cmd.Close()
	defer context.AfterFunc(ctx, cmd.Close)() // it removes what it was writing
	late := time.AfterFunc(c.IdleTimeout, func() { giveUp(cmd) })
	client, err := receiver.Connect(cmd.Stdout, cmd.Stdin, cmd.Close)
	if !late.Stop() {
		err = diag.Errorf(diag.NodeSilent, "the receiver's first line did not come within %s", c.IdleTimeout)
	}
	if err != nil {
		return err
	}
	deltas := &rsync.Transfer{Self: c.Agent.Self, Node: conn, Top: to}
	m := &filesync.Mirror{Dir: c.Root, Client: client, Deltas: deltas, Progress: s.Progress}
	if m.Record, err = s.openRecord(c, to, look); err != nil {
		return diag.Errorf(diag.WriteFailed, "what was copied before: %w", err)
	}
	defer m.Record.Close()
	standing, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	wg.Go(func() {
		err := cmd.Wait()
		lost(diag.Errorf(diag.LinkLost, "the receiver of files on the node has ended: %w", cmp.Or(err, io.EOF)))
	})
	err = f(standing, m)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && standing.Err() != nil:
		return context.Cause(standing)
	}
	return err
}

// openRecord opens the record for writing unless look says that it is only read.
// The node's lock lets nobody else write to it at the same time.
func (s SyncConfig) openRecord(c Config, to string, look bool) (*filesync.Record, error) {
	name := s.recordFile(c, to)
	if look {
		return filesync.ReadRecord(name)
	}
	return filesync.OpenRecord(name, filesync.Copy{Dir: c.Root, Node: c.SSH.Node.Name, To: to})
}

// recordFile is named for the node and the directory there.
func (s SyncConfig) recordFile(c Config, to string) string {
	sum := sha256.Sum256([]byte(c.SSH.Node.Name + "\x00" + to))
	return filepath.Join(s.RecordDir, hex.EncodeToString(sum[:16])+".jsonl")
}
