//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SwapContainerd puts another flavour of containerd on the node, restarts its
// unit and waits until it serves CRI calls. Pods run on. The flavour is built
// first when the cache lacks it.
func (n *Node) SwapContainerd(ctx context.Context, flavour string) error {
	built, err := n.cache().Containerd(ctx, flavour)
	if err != nil {
		return err
	}
	if err := copyFile(ctx, built.Binary, filepath.Join(n.RootFS(), "usr/bin/containerd")); err != nil {
		return err
	}
	if _, err := n.Exec(ctx, "systemctl", "reset-failed", "containerd.service"); err != nil {
		return err
	}
	if _, err := n.Exec(ctx, "systemctl", "restart", "containerd.service"); err != nil {
		return err
	}
	if err := n.waitCRI(ctx); err != nil {
		return fmt.Errorf("containerd of flavour %s: %w", flavour, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.facts.Containerd = flavour
	n.facts.BuildRoots[flavour] = built.BuildRoot
	return n.save()
}

// UserSource makes a developer's copy of the source that the make flavour was
// built from, vendor and .git included, in dir, which must not exist. The copy
// belongs to owner; removing it is the caller's business.
func (n *Node) UserSource(ctx context.Context, dir string, owner int) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already: %w", dir, errors.Join(err, fs.ErrExist))
	}
	source, err := n.cache().Source(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := copyTree(ctx, source, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "bin")); err != nil {
		return err
	}
	return chownTree(dir, owner)
}
