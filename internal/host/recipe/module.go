package recipe

import (
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// GoMod returns the go.mod of a module that requires exactly the modules that a
// published version was built with. Its language version is the toolchain's, so that
// it implies no GODEBUG settings besides the recorded ones.
func (r *Recipe) GoMod() ([]byte, error) {
	f := &modfile.File{}
	if err := f.AddModuleStmt("dapbridge.invalid/twin"); err != nil {
		return nil, err
	}
	if err := f.AddGoStmt(strings.TrimPrefix(r.Toolchain, "go")); err != nil {
		return nil, err
	}
	for _, g := range r.GODEBUG {
		key, value, _ := strings.Cut(g, "=")
		if semver.Compare("v"+strings.TrimPrefix(r.Toolchain, "go"), "v1.23") < 0 {
			break // go.mod has no godebug directive before Go 1.23
		}
		if err := f.AddGodebug(key, value); err != nil {
			return nil, err
		}
	}
	s := r.Source
	for _, m := range append([]exe.Module{{Path: s.Module, Version: s.Version}}, s.Deps...) {
		if err := f.AddRequire(m.Path, m.Version); err != nil {
			return nil, err
		}
		if n := m.Replace; n != nil {
			if err := f.AddReplace(m.Path, m.Version, n.Path, n.Version); err != nil {
				return nil, err
			}
		}
	}
	return f.Format()
}

// StampTag returns the tag, and the commit that it points to, from which Go derives the
// version that it stamped into the executable: the user's repository may have gained
// other tags since. It returns "" if the version does not depend on a tag.
func (r *Recipe) StampTag() (tag, at string) {
	stamp := strings.TrimSuffix(r.Source.Stamp, "+incompatible")
	if stamp == "" {
		return "", ""
	}
	if !module.IsPseudoVersion(stamp) {
		return stamp, r.Source.Revision
	}
	base, err := module.PseudoVersionBase(stamp)
	if err != nil || base == "" {
		return "", ""
	}
	return base, r.Source.Revision + "~1"
}
