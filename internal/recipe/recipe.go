// Package recipe works out how an executable was built, from what it says of
// itself, so that it can be built again on the host. It is pure: facts in, a
// recipe or a refusal in words out.
//
// The facts may be made up by somebody who wants a program of theirs to run on
// the host, or a file of the host's to be read. So nothing of them becomes an
// argument, an environment variable or a path that is not of a known, harmless
// form (settings.go, flags.go); everything else is refused with its name.
package recipe

import (
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// Host is the machine that builds, in Go's words.
type Host struct{ OS, Arch string }

// Recipe is how to build an executable again.
type Recipe struct {
	Toolchain string   `json:"toolchain"` // value of GOTOOLCHAIN, such as go1.26.8
	Package   string   `json:"package"`   // import path of the main package
	Source    Source   `json:"source"`
	Flags     []string `json:"flags"` // of go build
	Env       []string `json:"env"`   // NAME=VALUE
	// Roots are the directories of the machine that built it. They stand in
	// the executable, in places of those of the machine that builds it again.
	Roots target.Roots `json:"roots"`
	// LinkFlags reports whether the flags of the linker were recorded.
	LinkFlags bool `json:"linkFlags"`
	// Workspace reports whether other modules came from directories beside the
	// main one (go.work).
	Workspace bool `json:"workspace,omitempty"`
	// GODEBUG are the settings, KEY=VALUE, that a go.mod of a published
	// module's must make: those that were in force when it was built.
	GODEBUG []string `json:"godebug,omitempty"`
}

// Source is where the source comes from. One of Version, Revision and Tree is
// set.
type Source struct {
	Module   string          `json:"module"`             // path of the main package's module
	Version  string          `json:"version,omitempty"`  // a published version
	Revision string          `json:"revision,omitempty"` // a commit in the user's git repository
	Tree     bool            `json:"tree,omitempty"`     // a copy of the user's directory: the executable names nothing better
	Stamp    string          `json:"stamp,omitempty"`    // the version that Go made of the revision and its tags
	Deps     []target.Module `json:"deps,omitempty"`     // with a Version: what go.mod must ask for
}

// New returns the recipe for an executable of that origin, as a host of that
// kind can follow it. Its error's code is diag.TwinRefused.
func New(o *target.Origin, h Host) (*Recipe, error) {
	r := &Recipe{Package: o.MainPackage, Roots: o.Roots}
	for _, step := range []func(*target.Origin, Host) error{r.setToolchain, r.setPackage, r.setSource, r.checkRoots, r.applySettings, r.checkPlatform} {
		if err := step(o, h); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func refuse(format string, args ...any) error {
	return diag.Errorf(diag.TwinRefused, format, args...)
}

// toolchain takes releases only: another name would be looked for on the
// host's PATH (https://go.dev/doc/toolchain, "GOTOOLCHAIN").
func (r *Recipe) setToolchain(o *target.Origin, _ Host) error {
	m := regexp.MustCompile(`^go1\.([1-9][0-9]?)(\.[0-9]{1,3}|rc[0-9]{1,2}|beta[0-9]{1,2})?$`).FindStringSubmatch(o.GoVersion)
	switch {
	case m == nil:
		return refuse("the target was built by %q, which is no release of Go", o.GoVersion)
	case len(m[1]) == 1 || m[1] < "21":
		return refuse("the target was built by %s: toolchains before go1.21 can't be had as modules", o.GoVersion)
	}
	r.Toolchain = o.GoVersion
	return nil
}

func (r *Recipe) setPackage(o *target.Origin, _ Host) error {
	switch {
	case o.MainPackage == "command-line-arguments":
		return refuse("the target was built from a list of files, which records no package")
	case o.ModulePath == "":
		return refuse("the target was built without modules (GOPATH), so that the versions of its packages are not known")
	case module.CheckImportPath(o.MainPackage) != nil:
		return refuse("the target names no valid main package: %q", o.MainPackage)
	case module.CheckImportPath(o.ModulePath) != nil:
		return refuse("the target names no valid module: %q", o.ModulePath)
	}
	if below, ok := strings.CutPrefix(o.MainPackage, o.ModulePath); !ok || below != "" && below[0] != '/' {
		return refuse("the target's main package %s is not in its main module %s", o.MainPackage, o.ModulePath)
	}
	r.Source.Module = o.ModulePath
	return nil
}

// source chooses where the source comes from: a sum is recorded of a module
// that was downloaded, a revision of a repository that it was built in.
func (r *Recipe) setSource(o *target.Origin, _ Host) error {
	s := o.Settings
	switch {
	case s["vcs.modified"] == "true" || strings.HasSuffix(o.ModuleVersion, "+dirty") || strings.HasSuffix(o.ModuleVersion, ".dirty"):
		return refuse("the target was built from a tree with uncommitted changes (vcs.modified=true): no commit holds its source")
	case s["vcs"] != "" && s["vcs"] != "git":
		return refuse("the target was built from a repository of %q: only git is known here", s["vcs"])
	case o.MainSum != "":
		return r.setPublished(o)
	}
	r.Workspace = slices.ContainsFunc(o.Deps, func(m target.Module) bool { return m.Version == "(devel)" && m.Replace == nil })
	switch {
	case s["vcs.revision"] != "":
		if !regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`).MatchString(s["vcs.revision"]) {
			return refuse("the target names no valid revision: %q", s["vcs.revision"])
		}
		r.Source.Revision = s["vcs.revision"]
		if semver.IsValid(o.ModuleVersion) {
			r.Source.Stamp = o.ModuleVersion
		}
		return nil
	}
	r.Source.Tree = true
	return nil
}

// published checks what go.mod must ask for, so that the very same modules are
// chosen as when the target was built, also if it was built from within another
// module.
func (r *Recipe) setPublished(o *target.Origin) error {
	if module.Check(o.ModulePath, o.ModuleVersion) != nil {
		return refuse("the target names no valid module version: %s@%s", o.ModulePath, o.ModuleVersion)
	}
	r.Source.Version = o.ModuleVersion
	for _, d := range o.Deps {
		if d.Version == "(devel)" {
			return refuse("the target was built with the module %s from a directory", d.Path)
		}
		if module.Check(d.Path, d.Version) != nil {
			return refuse("the target names no valid module version: %s@%s", d.Path, d.Version)
		}
		if n := d.Replace; n != nil && module.Check(n.Path, n.Version) != nil {
			return refuse("the target was built with %s in place of the module %s: that is no published version", n.Path, d.Path)
		}
	}
	r.Source.Deps = slices.Clone(o.Deps)
	if list := o.Settings["DefaultGODEBUG"]; list != "" {
		r.GODEBUG = strings.Split(list, ",")
	}
	return nil
}

// roots refuses what can't stand in a -trimpath argument.
func (r *Recipe) checkRoots(o *target.Origin, _ Host) error {
	for _, dir := range []string{o.Roots.Module, o.Roots.ModCache, o.Roots.GOROOT} {
		if dir != "" && !isPlainPath(dir) {
			return refuse("the target was built in %q, which can't be rebuilt under that name", dir)
		}
	}
	return nil
}

// platform refuses what this host can't build.
func (r *Recipe) checkPlatform(o *target.Origin, h Host) error {
	if s := o.Settings; s["GOOS"] != "linux" || s["GOARCH"] != o.Arch {
		return refuse("the target says that it was built for %s/%s, but is a Linux program for %s", s["GOOS"], s["GOARCH"], o.Arch)
	}
	if o.Settings["CGO_ENABLED"] == "1" && (h.OS != "linux" || h.Arch != o.Arch) {
		return refuse("the target was built with cgo for linux/%s, which takes a C compiler on such a machine; this one is %s/%s", o.Arch, h.OS, h.Arch)
	}
	return nil
}

// vendored reports whether the dependencies came from a vendor directory. Of
// those no sums are recorded; paths show it too, unless -trimpath took them.
func isVendored(o *target.Origin) bool {
	if o.Roots.Vendor {
		return true
	}
	return o.Trimpath && len(o.Deps) > 0 && !slices.ContainsFunc(o.Deps, func(m target.Module) bool {
		return m.Sum != "" || m.Replace != nil && m.Replace.Sum != ""
	})
}

// plainPath reports whether p can be part of "-trimpath A=>B;C=>D".
func isPlainPath(p string) bool {
	return len(p) < 4096 && strings.HasPrefix(p, "/") && !strings.ContainsFunc(p, func(c rune) bool {
		return c < ' ' || c == 0x7f || c == ';' || c == '\'' || c == '"'
	}) && !strings.Contains(p, "=>")
}
