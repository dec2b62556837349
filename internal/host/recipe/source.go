package recipe

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Source is where the source comes from. Exactly one of Version, Revision and Tree
// is set.
type Source struct {
	Module   string `json:"module"`             // path of the main package's module
	Version  string `json:"version,omitempty"`  // a published version
	Revision string `json:"revision,omitempty"` // a commit in the user's git repository
	Tree     bool   `json:"tree,omitempty"`     // a copy of the user's directory
	Stamp    string `json:"stamp,omitempty"`    // with a Revision: the version that Go derived from it and its tags
	// Clone reports, of a Version, that the original was built in a clone of its
	// repository: as the main module, with its own go.mod.
	Clone bool         `json:"clone,omitempty"`
	Deps  []exe.Module `json:"deps,omitempty"` // what go.mod must require; only with a Version that is no Clone
}

// String returns how messages name the source.
func (s Source) String() string {
	switch {
	case s.Version != "":
		return "the published version " + s.Module + "@" + s.Version
	case s.Revision != "":
		return "commit " + s.Revision
	}
	return "a copy of the directory"
}

// Recorded is what an executable records about its source. A build from another kind of
// source would record something else, so it is written into the twin.
type Recorded struct {
	Version  string   `json:"version,omitempty"`  // of the main module; empty if unknown
	Sum      string   `json:"sum,omitempty"`      // of the main module, if that was downloaded
	Settings []string `json:"settings,omitempty"` // KEY=VALUE, the vcs settings in Go's order
}

// Flags returns flags of dapbridge toolexec that write it into the program.
func (r Recorded) Flags() []string {
	var flags []string
	if r.Version != "" {
		flags = append(flags, "--version="+r.Version)
	}
	if r.Sum != "" {
		flags = append(flags, "--sum="+r.Sum)
	}
	for _, s := range r.Settings {
		flags = append(flags, "--setting="+s)
	}
	return flags
}

// Sources returns all sources that may be the right one, the cheapest first.
func (r *Recipe) Sources() []Source { return append([]Source{r.Source}, r.Others...) }

// WithSource returns the recipe with another source.
func (r *Recipe) WithSource(s Source) *Recipe {
	other := *r
	other.Source, other.Others = s, nil
	return &other
}

// BuildFlags returns the flags of go build for the recipe's source.
func (r *Recipe) BuildFlags() []string {
	mode := "readonly"
	switch {
	case r.Source.Version != "" && !r.Source.Clone:
		mode = "mod" // GoMod has no go.sum: the checksum database verifies the modules
	case r.Vendored:
		mode = "vendor"
	}
	return append([]string{"-buildvcs=" + strconv.FormatBool(r.Source.Revision != ""), "-mod=" + mode}, r.Flags...)
}

// Stamp returns what must be written into a twin because its source does not yield it.
func (r *Recipe) Stamp() Recorded {
	if r.Source.Tree || r.Source.Clone {
		return r.Recorded
	}
	return Recorded{}
}

// Locate returns a recipe that says no more than where an executable's source may come
// from, and whether the build had changes that no commit holds. It accepts executables
// that cannot be rebuilt. The error's code is diag.SourceUnknown.
func Locate(o *exe.Origin) (r *Recipe, modified bool, err error) {
	r = &Recipe{Toolchain: o.GoVersion}
	if err := module.CheckImportPath(o.ModulePath); err != nil {
		return nil, false, diag.Errorf(diag.SourceUnknown, "the target records no module: %w", err)
	}
	r.Source.Module = o.ModulePath
	if err := r.setSource(o, Host{}); err != nil {
		return nil, false, diag.Errorf(diag.SourceUnknown, "%w", err)
	}
	return r, isModified(o), nil
}

// isModified reports whether the build had uncommitted changes.
func isModified(o *exe.Origin) bool {
	return o.Settings["vcs.modified"] == "true" || strings.HasSuffix(o.ModuleVersion, "+dirty") || strings.HasSuffix(o.ModuleVersion, ".dirty")
}

// refuseModified refuses what no commit holds.
func (r *Recipe) refuseModified(o *exe.Origin, _ Host) error {
	if isModified(o) {
		return refuse("the target was built from a tree with uncommitted changes (vcs.modified=true): no commit holds its source")
	}
	return nil
}

// setSource finds where the source may come from. Go records a checksum for a module
// that was downloaded, and a revision for a build in a repository.
func (r *Recipe) setSource(o *exe.Origin, _ Host) error {
	s := o.Settings
	if s["vcs"] != "" && s["vcs"] != "git" {
		return refuse("the target was built from a repository of %q: only git is supported", s["vcs"])
	}
	r.Vendored = isVendored(o)
	r.setRecorded(o)
	tree := Source{Module: o.ModulePath, Tree: true}
	if o.MainSum != "" {
		r.Others = []Source{tree}
		return r.setPublished(o)
	}
	r.Workspace = slices.ContainsFunc(o.Deps, func(m exe.Module) bool { return m.Version == "(devel)" && m.Replace == nil })
	if s["vcs.revision"] == "" {
		r.Source = tree
		return nil
	}
	if !regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`).MatchString(s["vcs.revision"]) {
		return refuse("the target records an invalid revision: %q", s["vcs.revision"])
	}
	r.Source.Revision = s["vcs.revision"]
	if semver.IsValid(o.ModuleVersion) {
		r.Source.Stamp = o.ModuleVersion
	}
	if module.Check(o.ModulePath, o.ModuleVersion) == nil && !usesDirectories(o) {
		r.Others = append(r.Others, Source{Module: o.ModulePath, Version: o.ModuleVersion, Clone: true})
	}
	r.Others = append(r.Others, tree)
	return nil
}

// usesDirectories reports whether a dependency came from a directory, which no published
// version contains.
func usesDirectories(o *exe.Origin) bool {
	return slices.ContainsFunc(o.Deps, func(m exe.Module) bool {
		return m.Version == "(devel)" || m.Replace != nil && m.Replace.Version == ""
	})
}

// setRecorded takes only what has a known form; applySettings checks the settings.
func (r *Recipe) setRecorded(o *exe.Origin) {
	if semver.IsValid(o.ModuleVersion) {
		r.Recorded.Version = o.ModuleVersion
	}
	if regexp.MustCompile(`^h1:[A-Za-z0-9+/]{43}=$`).MatchString(o.MainSum) {
		r.Recorded.Sum = o.MainSum
	}
	for _, key := range []string{"vcs", "vcs.revision", "vcs.time", "vcs.modified"} { // cmd/go/internal/load, setBuildInfo
		if value, ok := o.Settings[key]; ok {
			r.Recorded.Settings = append(r.Recorded.Settings, key+"="+value)
		}
	}
}

// setPublished records what go.mod must require so that the go command selects the
// same modules as in the original build, even if that ran in another module.
func (r *Recipe) setPublished(o *exe.Origin) error {
	if module.Check(o.ModulePath, o.ModuleVersion) != nil {
		return refuse("the target records an invalid module version: %s@%s", o.ModulePath, o.ModuleVersion)
	}
	r.Source.Version = o.ModuleVersion
	for _, d := range o.Deps {
		if d.Version == "(devel)" {
			return refuse("the target was built with module %s from a local directory", d.Path)
		}
		if module.Check(d.Path, d.Version) != nil {
			return refuse("the target records an invalid module version: %s@%s", d.Path, d.Version)
		}
		if n := d.Replace; n != nil && module.Check(n.Path, n.Version) != nil {
			return refuse("the target was built with %s in place of module %s, which is not a published version", n.Path, d.Path)
		}
	}
	r.Source.Deps = slices.Clone(o.Deps)
	if list := o.Settings["DefaultGODEBUG"]; list != "" {
		r.GODEBUG = strings.Split(list, ",")
	}
	return nil
}

// isVendored reports whether the dependencies came from a vendor directory. Go
// records no checksums for those; paths show it too, unless -trimpath removed them.
func isVendored(o *exe.Origin) bool {
	if o.Roots.Vendor {
		return true
	}
	return o.Trimpath && len(o.Deps) > 0 && !slices.ContainsFunc(o.Deps, func(m exe.Module) bool {
		return m.Sum != "" || m.Replace != nil && m.Replace.Sum != ""
	})
}
