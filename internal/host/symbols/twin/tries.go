package twin

import (
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// sources returns the sources to try, the cheapest first. A published version costs
// nothing if it is in the module cache, and all that it depends on came from there too.
func (j *job) sources() []recipe.Source {
	all := j.recipe.Sources()
	at := slices.IndexFunc(all, func(s recipe.Source) bool {
		return s.Clone && !j.recipe.Vendored && j.goCommand.HasModule(module.Version{Path: s.Module, Version: s.Version})
	})
	if at < 0 {
		return all
	}
	return slices.Concat([]recipe.Source{all[at]}, all[:at], all[at+1:])
}

// failure says why a source is not the right one.
type failure struct {
	source recipe.Source
	err    error
}

// joinFailures returns an error that names every source that was tried, and why it
// failed. Its code is diag.TwinDiffers if something could be built.
func joinFailures(failures []failure) error {
	if len(failures) == 1 {
		return failures[0].err
	}
	code, hint := diag.TwinBuild, ""
	var texts []string
	for _, f := range failures {
		texts = append(texts, f.source.String()+": "+f.err.Error())
		if diag.CodeOf(f.err) == diag.TwinDiffers {
			code = diag.TwinDiffers
		}
		if own := diag.Hint(f.err); hint == "" && own != diag.Hint(diag.Errorf(diag.CodeOf(f.err), "")) {
			hint = own // of this failure, not of its code
		}
	}
	err := diag.Errorf(code, "none of the sources that may be the target's is it: %s", strings.Join(texts, "; "))
	if hint != "" {
		err.Hint = hint
	}
	return err
}
