//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
)

// Down removes the node: its processes, mounts, network, cgroups and files. It is
// idempotent, and any process may call it.
func (n *Node) Down() error {
	return Down(context.Background(), filepath.Dir(n.dir), n.Name(), func(string, ...any) {})
}

// Down removes the named node in the state directory, including one that never came up
// or died. It blocks while an Up of the node is in progress. If there is no such node,
// it returns nil.
func Down(ctx context.Context, state, name string, logf func(string, ...any)) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	if !isValidName(name) {
		return fmt.Errorf("%q is not a valid node name", name)
	}
	unlock, err := lockNode(ctx, state, name, logf)
	if err != nil {
		return err
	}
	defer unlock()
	if exists(filepath.Join(state, name)) {
		logf("removing node %s ...", name)
	}
	if err := remove(filepath.Join(state, name)); err != nil {
		return fmt.Errorf("remove node %s: %w", name, err)
	}
	// An Up that was killed may have left this lock file behind.
	release, err := lockFile(ctx, networksLock, nil)
	if err == nil {
		release()
	}
	return err
}

// remove undoes the ledger in dir and then removes dir, the ledger last. The caller
// must hold the node's lock.
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
