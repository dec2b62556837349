package pathmap

import (
	"fmt"
	"strings"

	gomod "golang.org/x/mod/module"
)

// Host is what [Infer] needs to know about the host and its Go installation. Directories
// have the host's separators.
type Host struct {
	Workspaces []Workspace // in order of descending priority
	ModCache   string      // GOMODCACHE
	GoRoot     string      // GOROOT
	GoVersion  string      // GOVERSION, that of GoRoot
	Platform   string      // GOOS-GOARCH, part of a toolchain's version
	Tree       Tree
}

// Tree is the host's file system.
type Tree interface {
	// Has reports whether there is a file or directory.
	Has(path string) bool
	// Real returns path without symbolic links, or path itself if it cannot resolve
	// them.
	Real(path string) string
}

// Workspace is a directory on the host with a go.mod.
type Workspace struct {
	Root       string
	ModulePath string
	Replace    []Module // with Replace set; a local directory is absolute or relative to Root
	Require    []Module
	VendorDir  string   // of vendored dependencies; "" if there is none
	Vendor     []Module // from vendor/modules.txt
}

// sameVersion is the reason to reject a location that is as good as the chosen one.
const sameVersion = "a second copy of the same version"

// locate finds f's module on the host.
func (h Host) locate(f Finding) Finding {
	switch f.Kind {
	case Library:
		h.locateLibrary(&f)
	case Main:
		h.locateMain(&f)
	default:
		h.locateDependency(&f)
	}
	return f
}

// accept chooses host, or rejects it if another location has already been chosen.
func (f *Finding) accept(host, reason string) {
	if f.Host == "" {
		f.Host, f.Reason = host, reason
		return
	}
	f.reject(host, sameVersion)
}

// reject records a location that was not chosen.
func (f *Finding) reject(host, why string) {
	if host != "" && host != f.Host {
		f.Rejected = append(f.Rejected, Rejected{host, why})
	}
}

// locateLibrary looks for exactly the version of the standard library: in GOROOT, or
// among the toolchains that Go has downloaded as modules (go.dev/doc/toolchain).
func (h Host) locateLibrary(f *Finding) {
	version := f.Module.Version
	if h.GoRoot != "" && goRelease(h.GoVersion) == version {
		f.accept(joinHost(h.GoRoot, "src"), "GOROOT, of the same version")
	} else if h.GoRoot != "" {
		f.reject(joinHost(h.GoRoot, "src"), fmt.Sprintf("GOROOT is %s", goRelease(h.GoVersion)))
	}
	toolchain := Module{Path: "golang.org/toolchain", Version: "v0.0.1-" + version + "." + h.Platform}
	if !strings.HasPrefix(version, "go1.") || h.Platform == "" || h.ModCache == "" {
		return
	}
	src := joinHost(h.ModCache, toolchain.Path+"@"+toolchain.Version+"/src")
	switch {
	case h.Tree.Has(src):
		f.accept(src, "the toolchain of the same version in the module cache")
	case f.Host == "":
		f.accept(src, "the toolchain of the same version, which is not in the module cache")
		f.Missing, f.Fetch = true, toolchain
	}
}

// locateMain looks for the main module in the workspaces, where it is edited, and then
// in the module cache for the version that was built.
func (h Host) locateMain(f *Finding) {
	for _, w := range h.Workspaces {
		switch {
		case w.ModulePath != f.Module.Path:
		case f.Host == "":
			f.Host = w.Root
		default:
			f.reject(w.Root, "another copy of the module: choose it with --root")
		}
	}
	if dir, ok := h.cachePath(f.Module); ok && h.Tree.Has(dir) {
		f.accept(dir, "the version that was built, in the module cache; no workspace holds the module")
	}
}

// locateDependency looks for exactly the version that was built.
func (h Host) locateDependency(f *Finding) {
	m := f.Module
	built := m
	if m.Replace != nil {
		built = *m.Replace
	}
	if built.Version == "" || built.Version == "(devel)" {
		h.locateLocal(f, built)
		return
	}
	for _, w := range h.Workspaces {
		h.locateVendored(f, w)
	}
	if dir, ok := h.cachePath(built); ok && h.Tree.Has(dir) {
		f.accept(dir, "the version that was built, in the module cache")
	} else if ok && f.Host == "" {
		f.accept(dir, "the version that was built, which is not in the module cache")
		f.Missing, f.Fetch = true, built
	}
	for _, w := range h.Workspaces {
		if w.ModulePath == m.Path {
			f.reject(w.Root, "the workspace's own copy; the target was built with "+built.String())
		}
		if r, dir := w.replacement(m.Path); dir != "" {
			f.reject(dir, fmt.Sprintf("go.mod replaces the module by %s; the target was built with %s", r.Path, built))
		}
	}
}

// locateLocal looks for a dependency that was a local directory in the build: one that
// go.work uses or a replace directive names.
func (h Host) locateLocal(f *Finding, built Module) {
	for _, w := range h.Workspaces {
		if r, dir := w.replacement(f.Module.Path); dir != "" && h.Tree.Has(dir) {
			f.accept(dir, "replaced by "+r.Path)
		}
	}
	for _, w := range h.Workspaces {
		if w.ModulePath == f.Module.Path || w.ModulePath == built.Path {
			f.accept(w.Root, "a module of the workspace, as in the build")
		}
	}
	for _, w := range h.Workspaces {
		if dir := joinLocal(w.Root, built.Path); f.Host == "" && f.Module.Replace != nil && h.Tree.Has(dir) {
			f.accept(dir, "replaced by "+built.Path+" when the target was built")
		}
	}
	for _, w := range h.Workspaces {
		h.locateVendored(f, w)
	}
	f.Rejected = rewordSameVersion(f.Rejected)
}

// rewordSameVersion rewords the reasons that claim that a location has the same version:
// local directories have no version.
func rewordSameVersion(rejected []Rejected) []Rejected {
	for i := range rejected {
		if rejected[i].Why == sameVersion {
			rejected[i].Why = "another copy of the module"
		}
	}
	return rejected
}

// locateVendored accepts a vendored module if it is the version that was built.
func (h Host) locateVendored(f *Finding, w Workspace) {
	for _, v := range w.Vendor {
		dir := joinHost(w.VendorDir, v.Path)
		switch {
		case v.Path != f.Module.Path || !h.Tree.Has(dir):
		case v.String() == f.Module.String():
			f.accept(dir, "vendored, as it was built")
		default:
			f.reject(dir, "vendored as "+v.String())
		}
	}
}

// cachePath returns the path of m in the host's module cache, whether or not it exists.
func (h Host) cachePath(m Module) (string, bool) {
	dir, ok := cacheDir(m)
	if !ok || h.ModCache == "" {
		return "", false
	}
	return joinHost(h.ModCache, dir), true
}

// cacheDir returns the name of m's directory in a module cache.
func cacheDir(m Module) (string, bool) {
	path, err := gomod.EscapePath(m.Path)
	if err != nil || m.Version == "" || strings.HasPrefix(m.Version, "(") {
		return "", false
	}
	version, err := gomod.EscapeVersion(m.Version)
	return path + "@" + version, err == nil
}

// replacement returns the local module that the workspace replaces a module with, and
// its directory, or "" if there is none.
func (w Workspace) replacement(path string) (by Module, dir string) {
	for _, r := range w.Replace {
		if r.Path == path && r.Replace != nil && r.Replace.Version == "" {
			return *r.Replace, joinLocal(w.Root, r.Replace.Path)
		}
	}
	return Module{}, ""
}

// joinHost appends a path with slashes to a directory of the host.
func joinHost(dir, below string) string {
	if below == "" {
		return dir
	}
	return string(newEntry(cleanRulePath(dir), Rule{}).appendPath(nil, []byte(below)))
}

// joinLocal resolves a directory in go.mod or go.work against root, the directory of that
// file.
func joinLocal(root, dir string) string {
	if isAbsolute([]byte(dir)) {
		return cleanRulePath(dir)
	}
	dir = strings.ReplaceAll(dir, `\`, "/")
	if newEntry(root, Rule{}).sep == '\\' {
		return cleanRulePath(root + `\` + strings.ReplaceAll(dir, "/", `\`))
	}
	return cleanRulePath(root + "/" + dir)
}
