//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

// UserCache is the cache directory of the user who runs dapbridge in tests, which
// persists between runs. That user cannot read root's cache directory.
const UserCache = "/var/lib/dapbridge-testnode-user"

// UserModules returns the module cache of that user.
func UserModules() string { return filepath.Join(UserCache, "mod") }

// Prepare builds the parts of a node into the cache. With full, it fills all caches
// that the tests of both tiers read: with every flavour of containerd, its source and
// modules, the kubelet's modules, and the module cache of the node's owner.
func Prepare(ctx context.Context, o Options, full bool) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	if _, err := o.buildParts(ctx); err != nil {
		return err
	}
	cache, flavours := o.cache(), []string{o.Containerd}
	if full {
		flavours = parts.Flavours()
	}
	for _, flavour := range flavours {
		if _, err := cache.Containerd(ctx, flavour); err != nil {
			return err
		}
		if _, err := cache.Source(ctx, flavour); err != nil {
			return err
		}
	}
	if !full {
		return nil
	}
	for _, flavour := range []string{Make, V1Make} {
		if err := cache.Modules(ctx, flavour); err != nil {
			return err
		}
	}
	if err := cache.KubernetesModules(ctx); err != nil {
		return err
	}
	return shareModules(ctx, UserModules(), o.Owner)
}

// shareModules links the modules that root's go command has downloaded into another
// user's module cache, where the go command unpacks them itself.
func shareModules(ctx context.Context, dir string, owner int) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output()
	if err != nil {
		return fmt.Errorf("go env GOMODCACHE: %w", err)
	}
	from, to := filepath.Join(strings.TrimSpace(string(out)), "cache/download"), filepath.Join(dir, "cache/download")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	// The go command writes to locks and version lists, so the user needs their own.
	if err := runCommand(ctx, nil, "rsync", "-rt", "--exclude=*.lock", "--exclude=list", "--ignore-existing",
		"--link-dest="+from, from+"/", to+"/"); err != nil {
		return err
	}
	who := fmt.Sprintf("%d:%[1]d", owner)
	if err := runCommand(ctx, nil, "chown", who, filepath.Dir(dir), dir); err != nil {
		return err
	}
	return runCommand(ctx, nil, "find", filepath.Join(dir, "cache"), "-type", "d", "-exec", "chown", who, "{}", "+")
}
