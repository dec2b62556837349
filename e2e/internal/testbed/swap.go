//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

// SwapContainerd installs another flavour of containerd on the node, restarts its unit
// and waits until it serves CRI calls. Pods keep running. If the cache lacks the
// flavour, it is built first.
func (n *Node) SwapContainerd(ctx context.Context, flavour string) error {
	built, err := n.cache().Containerd(ctx, flavour)
	if err != nil {
		return err
	}
	if err := installContainerd(ctx, n.RootFS(), built); err != nil {
		return err
	}
	config, err := render(configName(flavour), n.templateValues())
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(n.RootFS(), "etc/containerd/config.toml"), config, 0o644); err != nil {
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

// installContainerd copies containerd and its shim into a node's root file system.
func installContainerd(ctx context.Context, root string, built parts.Containerd) error {
	for from, to := range map[string]string{built.Binary: "containerd", built.Shim: "containerd-shim-runc-v2"} {
		if err := copyFile(ctx, from, filepath.Join(root, "usr/bin", to)); err != nil {
			return err
		}
	}
	return nil
}

// configName returns the template of containerd's configuration for a flavour.
func configName(flavour string) string {
	if flavour == V1Make || flavour == V1Trimpath {
		return "containerd-v1.toml"
	}
	return "containerd.toml"
}

// UserSource copies the source that a flavour was built from, with vendor and .git, to
// dir, which must not exist. The copy belongs to owner. The caller must remove it.
func (n *Node) UserSource(ctx context.Context, flavour, dir string, owner int) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already: %w", dir, errors.Join(err, fs.ErrExist))
	}
	source, err := n.cache().Source(ctx, flavour)
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

// ShareBuildCache copies what was compiled with -trimpath, for the node's parts and for
// a flavour of containerd, into another user's build cache, so that this user's go
// command need not compile it again.
func (n *Node) ShareBuildCache(ctx context.Context, flavour, dir string, owner int) error {
	if _, err := n.cache().Containerd(ctx, flavour); err != nil {
		return err
	}
	from := n.cache().BuildCache()
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil // the parts were built without one
	}
	who := fmt.Sprintf("--chown=%d:%[1]d", owner)
	return runCommand(ctx, nil, "rsync", "--archive", "--ignore-existing", who, from+"/", dir+"/")
}
