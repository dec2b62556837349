//go:build linux

package parts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Versions of containerd. The V1 flavours have ContainerdV1Version.
const (
	ContainerdVersion   = "v2.4.2"
	ContainerdV1Version = "v1.7.35"
)

const (
	containerdModule   = "github.com/containerd/containerd/v2"
	containerdV1Module = "github.com/containerd/containerd"
)

// The flavours of containerd.
const (
	// Make is built by "make GODEBUG=1" in a checkout with vendor: a position
	// independent, dynamically linked executable with cgo.
	Make = "make"
	// Static is built by "go install" without cgo and without optimisation.
	Static = "static"
	// Trimpath is Static with -trimpath.
	Trimpath = "trimpath"
	// Stripped is the Makefile's default, without symbol table and DWARF.
	Stripped = "stripped"
	// Clang is Stripped with its C code compiled by clang.
	Clang = "clang"
	// Trimmed is built by "go install -trimpath" without cgo and stripped: it records
	// a published version, but neither directories nor linker flags.
	Trimmed = "trimmed"
	// V1Make is Make of containerd 1.7. V1Trimpath is built by "go build -trimpath" in
	// the same checkout, since its go.mod does not allow go install.
	V1Make     = "v1-make"
	V1Trimpath = "v1-trimpath"
)

// flavour describes how a containerd is built.
type flavour struct {
	module, version string
	method          int      // byGoInstall, inCheckout or byMakefile
	flags           []string // of the go command, or of make
}

// Methods of building a flavour.
const (
	byGoInstall = iota // go install MODULE@VERSION
	inCheckout         // go build in a checkout
	byMakefile         // make in a checkout
)

func flavours() map[string]flavour {
	debug, trimmed := "-gcflags=all=-N -l", "-trimpath"
	return map[string]flavour{
		Make:       {containerdModule, ContainerdVersion, byMakefile, []string{"GODEBUG=1"}},
		Stripped:   {containerdModule, ContainerdVersion, byMakefile, nil},
		Clang:      {containerdModule, ContainerdVersion, byMakefile, []string{"CC=clang"}},
		Static:     {containerdModule, ContainerdVersion, byGoInstall, []string{debug}},
		Trimpath:   {containerdModule, ContainerdVersion, byGoInstall, []string{debug, trimmed}},
		Trimmed:    {containerdModule, ContainerdVersion, byGoInstall, []string{trimmed, "-ldflags=-s -w"}},
		V1Make:     {containerdV1Module, ContainerdV1Version, byMakefile, []string{"GODEBUG=1"}},
		V1Trimpath: {containerdV1Module, ContainerdV1Version, inCheckout, []string{debug, trimmed}},
	}
}

// Flavours lists all flavours.
func Flavours() []string {
	return []string{Make, Static, Trimpath, Stripped, Clang, Trimmed, V1Make, V1Trimpath}
}

// Containerd is one built flavour.
type Containerd struct {
	Binary string // path of the executable
	Shim   string // path of a shim of the same major version
	// BuildRoot is the directory of the main module at build time, which the debug
	// information names unless it was trimmed.
	BuildRoot string
}

// Containerd returns a flavour and builds it if it is missing.
func (c *Cache) Containerd(ctx context.Context, name string) (Containerd, error) {
	version, err := goVersion(ctx)
	if err != nil {
		return Containerd{}, err
	}
	f, known := flavours()[name]
	if !known {
		return Containerd{}, fmt.Errorf("no containerd flavour %q: there are %q", name, Flavours())
	}
	p := part{name: "containerd-" + name, version: f.version, recipe: []string{"1", version}, duration: "about 1 min"}
	p.build = func(ctx context.Context, w workspace) error { return c.buildInstalled(ctx, w, f) }
	if f.method != byGoInstall {
		source, err := c.Source(ctx, name)
		if err != nil {
			return Containerd{}, err
		}
		p.recipe = append(p.recipe, source) // is part of the debug information
		p.build = func(ctx context.Context, w workspace) error {
			if f.method == inCheckout {
				return buildInCheckout(ctx, w, source, f)
			}
			return c.buildByMakefile(ctx, w, source, f)
		}
	}
	dir, err := c.get(ctx, p)
	if err != nil {
		return Containerd{}, err
	}
	built := Containerd{Binary: filepath.Join(dir, "containerd")}
	if built.BuildRoot, err = readBuildRoot(dir); err != nil {
		return Containerd{}, err
	}
	built.Shim, err = c.buildShim(ctx, name)
	return built, err
}

func (c *Cache) buildInstalled(ctx context.Context, w workspace, f flavour) error {
	root, err := download(ctx, f.module, f.version)
	if err != nil {
		return err
	}
	env := []string{"CGO_ENABLED=0"}
	if slices.Contains(f.flags, "-trimpath") {
		env = append(env, "GOCACHE="+c.BuildCache())
	}
	if err := w.run(ctx, goInstallCommand(w.out, f.module, f.version, env, f.flags, "cmd/containerd")); err != nil {
		return err
	}
	return writeBuildRoot(w.out, root)
}

func buildInCheckout(ctx context.Context, w workspace, source string, f flavour) error {
	argv := append([]string{"go", "build", "-o", filepath.Join(w.out, "containerd")}, f.flags...)
	if err := w.run(ctx, command{dir: source, env: goBuildEnv("CGO_ENABLED=0"), argv: append(argv, "./cmd/containerd")}); err != nil {
		return err
	}
	return writeBuildRoot(w.out, source)
}

// buildByMakefile runs containerd's Makefile in the source tree. It takes a lock, since
// all flavours that use the Makefile write to the same bin/.
func (c *Cache) buildByMakefile(ctx context.Context, w workspace, source string, f flavour) error {
	unlock, err := c.lock(ctx, "containerd-makefile")
	if err != nil {
		return err
	}
	defer unlock()
	argv := append([]string{"make", "bin/containerd", "VERSION=" + f.version, "REVISION=" + sourceCommit}, f.flags...)
	bin := filepath.Join(source, "bin")
	if err := os.RemoveAll(bin); err != nil {
		return err
	}
	if err := w.run(ctx, command{dir: source, env: goBuildEnv("CGO_ENABLED=1"), argv: argv}); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(bin, "containerd"), filepath.Join(w.out, "containerd")); err != nil {
		return err
	}
	return writeBuildRoot(w.out, source)
}

// sourceCommit is the Makefile's REVISION. The real one is unknown, since a module does
// not contain the history.
const sourceCommit = "0000000000000000000000000000000000000000"

// Source returns a checkout of a flavour's source as a developer has it: a git
// repository with vendor in a single commit, and no changes. The Makefile's flavours
// are built in it.
func (c *Cache) Source(ctx context.Context, name string) (string, error) {
	f, known := flavours()[name]
	if !known {
		return "", fmt.Errorf("no containerd flavour %q: there are %q", name, Flavours())
	}
	dir, err := c.get(ctx, part{
		name: "containerd-source", version: f.version, recipe: []string{"1"},
		duration: "about 10 s",
		build: func(ctx context.Context, w workspace) error {
			tree := filepath.Join(w.out, "containerd")
			if err := w.copyModule(ctx, f.module, f.version, tree); err != nil {
				return err
			}
			return w.runAll(ctx,
				command{dir: tree, env: goBuildEnv(), argv: []string{"go", "mod", "vendor"}},
				gitCommand(tree, "init", "--quiet", "--initial-branch=main"),
				gitCommand(tree, "add", "--all"),
				gitCommand(tree, "commit", "--quiet", "--message=containerd "+f.version),
			)
		},
	})
	return filepath.Join(dir, "containerd"), err
}

// gitCommand returns a git command whose result does not depend on the user or the
// time.
func gitCommand(dir string, args ...string) command {
	const who, when = "testnode", "2026-01-01T00:00:00Z"
	return command{dir: dir, argv: append([]string{"git"}, args...), env: []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=" + who, "GIT_AUTHOR_EMAIL=" + who, "GIT_AUTHOR_DATE=" + when,
		"GIT_COMMITTER_NAME=" + who, "GIT_COMMITTER_EMAIL=" + who, "GIT_COMMITTER_DATE=" + when,
	}}
}

// Tools returns a tree with a static shim and ctr in usr/bin.
func (c *Cache) Tools(ctx context.Context) (string, error) {
	version, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	return c.get(ctx, part{
		name: "containerd-tools", version: ContainerdVersion, recipe: []string{"1", version},
		duration: "about 1 min",
		build: func(ctx context.Context, w workspace) error {
			return w.run(ctx, goInstallCommand(filepath.Join(w.out, "usr/bin"), containerdModule, ContainerdVersion,
				[]string{"CGO_ENABLED=0"}, nil, "cmd/containerd-shim-runc-v2", "cmd/ctr"))
		},
	})
}

// buildShim returns the shim for a flavour and builds it if it is missing.
func (c *Cache) buildShim(ctx context.Context, name string) (string, error) {
	const program = "containerd-shim-runc-v2"
	if flavours()[name].module != containerdV1Module {
		tools, err := c.Tools(ctx)
		return filepath.Join(tools, "usr/bin", program), err
	}
	version, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	source, err := c.Source(ctx, name)
	if err != nil {
		return "", err
	}
	dir, err := c.get(ctx, part{
		name: "containerd-v1-shim", version: ContainerdV1Version, recipe: []string{"1", version},
		duration: "about 1 min",
		build: func(ctx context.Context, w workspace) error {
			argv := []string{"go", "build", "-o", w.out + "/", "./cmd/" + program}
			return w.run(ctx, command{dir: source, env: goBuildEnv("CGO_ENABLED=0"), argv: argv})
		},
	})
	return filepath.Join(dir, program), err
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
