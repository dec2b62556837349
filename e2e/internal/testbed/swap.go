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

// SwapContainerd puts another flavour of containerd on the node, restarts its
// unit and waits until it serves CRI calls. Pods run on. The flavour is built
// first when the cache lacks it.
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

// install puts containerd and its shim into a node's root file system.
func installContainerd(ctx context.Context, root string, built parts.Containerd) error {
	for from, to := range map[string]string{built.Binary: "containerd", built.Shim: "containerd-shim-runc-v2"} {
		if err := copyFile(ctx, from, filepath.Join(root, "usr/bin", to)); err != nil {
			return err
		}
	}
	return nil
}

// configName is the configuration's template for a flavour.
func configName(flavour string) string {
	if flavour == V1Make || flavour == V1Trimpath {
		return "containerd-v1.toml"
	}
	return "containerd.toml"
}

// UserSource makes a developer's copy of the source that a flavour was built
// from, vendor and .git included, in dir, which must not exist. The copy belongs
// to owner; removing it is the caller's business.
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

// ShareBuildCache copies what was compiled with -trimpath for the node's parts
// and for a flavour of containerd's into another user's build cache, so that this
// user's go command need not compile it anew.
func (n *Node) ShareBuildCache(ctx context.Context, flavour, dir string, owner int) error {
	if _, err := n.cache().Containerd(ctx, flavour); err != nil {
		return err
	}
	from := n.cache().BuildCache()
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil // the parts are from before there was one
	}
	who := fmt.Sprintf("--chown=%d:%[1]d", owner)
	return runCommand(ctx, nil, "rsync", "--archive", "--ignore-existing", who, from+"/", dir+"/")
}
