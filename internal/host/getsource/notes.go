package getsource

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// noteDirectories notes the directories that the build needed besides its own: those that
// go.mod replaces dependencies with, and those of a go.work. The ones in the source are
// there; of others dapbridge does not know in what state they were.
func (r *Result) noteDirectories(recipe *recipe.Recipe, o *exe.Origin) {
	if recipe.Workspace && !hasWork(r.Module, r.Dir) {
		r.addNote("the target was built in a workspace (go.work), which the source does not contain")
	}
	m, err := gosource.Find(r.Module)
	if recipe.Vendored || err != nil {
		return
	}
	for _, replace := range m.Replace {
		if replace.New.Version != "" || !isReplaced(o, replace.Old.Path) {
			continue
		}
		dir := replace.New.Path
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		switch rel, relErr := filepath.Rel(r.Dir, dir); {
		case err != nil:
			r.addNote("go.mod replaces %s with %s, which is missing", replace.Old.Path, dir)
		case relErr != nil || !filepath.IsLocal(rel):
			r.addNote("go.mod replaces %s with %s, which may have changed since the build", replace.Old.Path, dir)
		}
	}
}

// isReplaced reports whether the build took a module from a directory.
func isReplaced(o *exe.Origin, path string) bool {
	return slices.ContainsFunc(o.Deps, func(m exe.Module) bool {
		return m.Path == path && m.Replace != nil && m.Replace.Version == ""
	})
}

// hasWork reports whether dir or one of its parents up to top has a go.work.
func hasWork(dir, top string) bool {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return true
		}
		if dir == top || !strings.HasPrefix(dir, top) {
			return false
		}
	}
}
