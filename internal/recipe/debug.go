package recipe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// Debug is how to build the program of an executable for a debugger, from the
// user's source as it is: without optimisation, with debug information that
// needs no decompression, and linked so that the node's libc does not matter.
// Unlike a Recipe's, the result need not be the same program.
type Debug struct {
	Package string   `json:"package"` // import path of the main package
	Module  string   `json:"module"`  // and of its module
	Arch    string   `json:"arch"`    // GOARCH
	Flags   []string `json:"flags"`   // of go build
	Env     []string `json:"env"`     // NAME=VALUE
}

// NewDebug returns that recipe for an executable of that origin. Of its linker's
// flags the -X are kept, which set versions; those of ldflags, the user's own,
// come after them. Its error's code is diag.DeployRefused.
func NewDebug(o *target.Origin, ldflags string) (*Debug, error) {
	r := &Recipe{}
	err := r.setPackage(o, Host{})
	if err == nil && o.Arch != "amd64" && o.Arch != "arm64" {
		err = fmt.Errorf("the target is a program for %s", o.Arch)
	}
	if tags := o.Settings["-tags"]; err == nil && tags != "" && knownSettings()["-tags"].check(tags) != nil {
		err = fmt.Errorf("the target was built with -tags=%q", tags)
	}
	if err != nil {
		return nil, diag.Errorf(diag.DeployRefused, "%w", err).WithHint("name the recipe with --build COMMAND")
	}
	link := "-compressdwarf=false"
	for _, words := range [][]string{variableFlags(o.Settings["-ldflags"]), {ldflags}} {
		if text := strings.TrimSpace(strings.Join(words, " ")); text != "" {
			link += " " + text
		}
	}
	d := &Debug{
		Package: o.MainPackage, Module: o.ModulePath, Arch: o.Arch,
		Flags: []string{"-gcflags=all=-N -l", "-ldflags=" + link},
		Env:   []string{"GOOS=linux", "GOARCH=" + o.Arch, "CGO_ENABLED=0"},
	}
	if tags := o.Settings["-tags"]; tags != "" {
		d.Flags = append(d.Flags, "-tags="+tags)
	}
	return d, nil
}

// variables returns the -X flags in a linker's flags, those of a known, harmless
// form.
func variableFlags(ldflags string) []string {
	words, err := splitQuoted(ldflags)
	if err != nil {
		return nil
	}
	set := linkFlags()[slices.IndexFunc(linkFlags(), func(f flag) bool { return f.name == "X" })]
	var found []string
	for len(words) > 0 {
		n := set.consume(words)
		for _, w := range words[:n] {
			if quoted, ok := quoteWord(w); ok {
				found = append(found, quoted)
			} else {
				found = found[:len(found)-min(len(found), n-1)] // -X without its value
			}
		}
		words = words[max(n, 1):]
	}
	return found
}

// quoteWord undoes split; a word with both kinds of quotes can't be said.
func quoteWord(w string) (string, bool) {
	switch {
	case !strings.ContainsAny(w, " \t\n\r'\""):
		return w, true
	case !strings.Contains(w, "'"):
		return "'" + w + "'", true
	case !strings.Contains(w, `"`):
		return `"` + w + `"`, true
	}
	return "", false
}
