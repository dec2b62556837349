package recipe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Debug describes how to build an executable's program for a debugger from the
// user's current source: unoptimised, with uncompressed debug information, and
// statically linked, so that the node's libc does not matter. Unlike a Recipe's, the
// result need not be the same program.
type Debug struct {
	Package string   `json:"package"` // import path of the main package
	Module  string   `json:"module"`  // path of its module
	Arch    string   `json:"arch"`    // GOARCH
	Flags   []string `json:"flags"`   // of go build
	Env     []string `json:"env"`     // NAME=VALUE
}

// NewDebug returns the debug recipe for an executable. Of the recorded linker flags
// it keeps -X, which sets versions; ldflags, the user's own, come after them. The
// error's code is diag.DeployRefused.
func NewDebug(o *exe.Origin, ldflags string) (*Debug, error) {
	r := &Recipe{}
	err := r.setPackage(o, Host{})
	if err == nil && o.Arch != "amd64" && o.Arch != "arm64" {
		err = fmt.Errorf("the target is built for %s, which is not supported", o.Arch)
	}
	if tags := o.Settings["-tags"]; err == nil && tags != "" && knownSettings()["-tags"].check(tags) != nil {
		err = fmt.Errorf("the target was built with -tags=%q", tags)
	}
	if err != nil {
		return nil, diag.Errorf(diag.DeployRefused, "%w", err).WithHint("give the build command with --build COMMAND")
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

// variableFlags returns the -X flags among linker flags that have a known, harmless
// form.
func variableFlags(ldflags string) []string {
	words, err := splitQuoted(ldflags)
	if err != nil {
		return nil
	}
	x := linkFlags()[slices.IndexFunc(linkFlags(), func(f flag) bool { return f.name == "X" })]
	var found []string
	for len(words) > 0 {
		n := x.consume(words)
		for _, w := range words[:n] {
			if quoted, ok := quoteWord(w); ok {
				found = append(found, quoted)
			} else {
				found = found[:len(found)-min(len(found), n-1)] // drop the -X of this value too
			}
		}
		words = words[max(n, 1):]
	}
	return found
}

// quoteWord is the inverse of splitQuoted. It returns false for a word that contains
// both kinds of quotes, which has no quoted form.
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
