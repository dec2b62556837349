//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
)

// Down takes the node away: its processes, mounts, network, cgroups and files.
// It may be called again, and by another process than the one that made it.
func (n *Node) Down() error {
	return Down(context.Background(), filepath.Dir(n.dir), n.Name(), func(string, ...any) {})
}

// Down takes the node of that name below state away, also one that never came
// up or died. It waits for an Up of the node that is still at it. Taking away
// what is not there is no error.
func Down(ctx context.Context, state, name string, logf func(string, ...any)) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	if !isValidName(name) {
		return fmt.Errorf("%q is no node's name", name)
	}
	unlock, err := lockNode(ctx, state, name, logf)
	if err != nil {
		return err
	}
	defer unlock()
	if exists(filepath.Join(state, name)) {
		logf("taking node %s down ...", name)
	}
	if err := remove(filepath.Join(state, name)); err != nil {
		return fmt.Errorf("take node %s down: %w", name, err)
	}
	// An Up that was killed may have left the file of this lock, too.
	release, err := lockFile(ctx, networksLock, nil)
	if err == nil {
		release()
	}
	return err
}

// remove undoes the ledger in dir and removes dir with the ledger last. The
// caller holds the node's lock.
func remove(dir string) error {
	path := filepath.Join(dir, ledgerFile)
	led, err := ledger.Open(path)
	if err != nil {
		return err
	}
	if err := led.Undo(); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == ledgerFile {
			continue
		}
		if err := ledger.RemoveTree(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return ledger.RemoveTree(dir)
}
