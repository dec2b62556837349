//go:build linux

package parts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// ContainerdVersion is the containerd of every flavour.
const ContainerdVersion = "v2.4.2"

const containerdModule = "github.com/containerd/containerd/v2"

// The flavours of containerd that can be had.
const (
	// Make is what "make GODEBUG=1" gives from a checkout with vendor: a
	// position independent, dynamically linked executable with cgo.
	Make = "make"
	// Static is "go install" without cgo and without optimisation.
	Static = "static"
	// Stripped is the Makefile's default: no symbol table, no DWARF.
	Stripped = "stripped"
	// Trimmed is "go install -trimpath" without cgo, stripped: it names a
	// published version, and neither directories nor the linker's flags.
	Trimmed = "trimmed"
)

// Flavours lists what Containerd takes.
func Flavours() []string { return []string{Make, Static, Stripped, Trimmed} }

// Containerd is one built flavour.
type Containerd struct {
	Binary string // the executable's path in the cache
	// BuildRoot is the directory that the main module had when it was built,
	// which is what the debug information names.
	BuildRoot string
}

// Containerd builds a flavour.
func (c *Cache) Containerd(ctx context.Context, flavour string) (Containerd, error) {
	version, err := goVersion(ctx)
	if err != nil {
		return Containerd{}, err
	}
	p := part{name: "containerd-" + flavour, version: ContainerdVersion, recipe: []string{"1", version}}
	switch flavour {
	case Static:
		p.takes = "about 1 min"
		p.build = func(ctx context.Context, w workspace) error {
			return buildInstalled(ctx, w, "-gcflags=all=-N -l")
		}
	case Trimmed:
		p.takes = "about 1 min"
		p.build = func(ctx context.Context, w workspace) error {
			return buildInstalled(ctx, w, "-trimpath", "-ldflags=-s -w")
		}
	case Make, Stripped:
		source, err := c.Source(ctx)
		if err != nil {
			return Containerd{}, err
		}
		p.takes = "about 1 min"
		p.recipe = append(p.recipe, source) // ends up in the debug information
		p.build = func(ctx context.Context, w workspace) error {
			return c.buildByMakefile(ctx, w, source, flavour == Make)
		}
	default:
		return Containerd{}, fmt.Errorf("no containerd flavour %q: there are %q", flavour, Flavours())
	}
	dir, err := c.get(ctx, p)
	if err != nil {
		return Containerd{}, err
	}
	root, err := readBuildRoot(dir)
	return Containerd{Binary: filepath.Join(dir, "containerd"), BuildRoot: root}, err
}

// buildInstalled builds a flavour by go install, without cgo.
func buildInstalled(ctx context.Context, w workspace, flags ...string) error {
	root, err := download(ctx, containerdModule, ContainerdVersion)
	if err != nil {
		return err
	}
	install := goInstall(w.out, containerdModule, ContainerdVersion,
		[]string{"CGO_ENABLED=0"}, flags, "cmd/containerd")
	if err := w.run(ctx, install); err != nil {
		return err
	}
	return writeBuildRoot(w.out, root)
}

// buildByMakefile runs containerd's own Makefile in the source tree. Both
// flavours that do write to the same bin/, hence the lock.
func (c *Cache) buildByMakefile(ctx context.Context, w workspace, source string, debug bool) error {
	unlock, err := c.lock(ctx, "containerd-makefile")
	if err != nil {
		return err
	}
	defer unlock()
	argv := []string{"make", "bin/containerd", "VERSION=" + ContainerdVersion, "REVISION=" + sourceCommit}
	if debug {
		argv = append(argv, "GODEBUG=1")
	}
	bin := filepath.Join(source, "bin")
	if err := os.RemoveAll(bin); err != nil {
		return err
	}
	if err := w.run(ctx, command{dir: source, env: goEnv("CGO_ENABLED=1"), argv: argv}); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(bin, "containerd"), filepath.Join(w.out, "containerd")); err != nil {
		return err
	}
	return writeBuildRoot(w.out, source)
}

// sourceCommit is what the Makefile is told as REVISION: the real one would
// need the history that a module does not carry.
const sourceCommit = "0000000000000000000000000000000000000000"

// Source is a checkout of containerd as its developers have one: a git
// repository of one commit with vendor in it, nothing modified. The make and
// stripped flavours are built in it.
func (c *Cache) Source(ctx context.Context) (string, error) {
	dir, err := c.get(ctx, part{
		name: "containerd-source", version: ContainerdVersion, recipe: []string{"1"},
		takes: "about 10 s",
		build: func(ctx context.Context, w workspace) error {
			tree := filepath.Join(w.out, "containerd")
			if err := w.copyModule(ctx, containerdModule, ContainerdVersion, tree); err != nil {
				return err
			}
			return w.runAll(ctx,
				command{dir: tree, env: goEnv(), argv: []string{"go", "mod", "vendor"}},
				git(tree, "init", "--quiet", "--initial-branch=main"),
				git(tree, "add", "--all"),
				git(tree, "commit", "--quiet", "--message=containerd "+ContainerdVersion),
			)
		},
	})
	return filepath.Join(dir, "containerd"), err
}

// git is a git command that does not depend on who runs it or when.
func git(dir string, args ...string) command {
	const who, when = "testnode", "2026-01-01T00:00:00Z"
	return command{dir: dir, argv: append([]string{"git"}, args...), env: []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=" + who, "GIT_AUTHOR_EMAIL=" + who, "GIT_AUTHOR_DATE=" + when,
		"GIT_COMMITTER_NAME=" + who, "GIT_COMMITTER_EMAIL=" + who, "GIT_COMMITTER_DATE=" + when,
	}}
}

// Tools is a tree with the shim and ctr in usr/bin, both static.
func (c *Cache) Tools(ctx context.Context) (string, error) {
	version, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	return c.get(ctx, part{
		name: "containerd-tools", version: ContainerdVersion, recipe: []string{"1", version},
		takes: "about 1 min",
		build: func(ctx context.Context, w workspace) error {
			return w.run(ctx, goInstall(filepath.Join(w.out, "usr/bin"), containerdModule, ContainerdVersion,
				[]string{"CGO_ENABLED=0"}, nil, "cmd/containerd-shim-runc-v2", "cmd/ctr"))
		},
	})
}

type buildInfo struct{ BuildRoot string }

func writeBuildRoot(dir, root string) error {
	raw, err := json.Marshal(buildInfo{root})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "build.json"), raw, 0o644)
}

func readBuildRoot(dir string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "build.json"))
	if err != nil {
		return "", err
	}
	var info buildInfo
	err = json.Unmarshal(raw, &info)
	return info.BuildRoot, err
}
