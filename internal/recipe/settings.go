package recipe

import (
	"maps"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/target"
)

// settings turns the recorded settings into flags and environment. One that is
// not known here is refused: it may change the program, or the host.
func (r *Recipe) settings(o *target.Origin, _ Host) error {
	r.LinkFlags = !o.Trimpath
	r.Flags = []string{"-buildvcs=" + boolean(r.Source.Revision != ""), "-mod=" + r.mod(o)}
	env := map[string]string{"CGO_ENABLED": "0"}
	for _, key := range slices.Sorted(maps.Keys(o.Settings)) {
		value := o.Settings[key]
		known, ok := knownSettings()[key]
		if !ok {
			return refuse("the target was built with %s=%q, which is not known here", key, value)
		}
		if err := known.check(value); err != nil {
			return refuse("the target was built with %s=%q: %w", key, value, err)
		}
		switch known.becomes {
		case aFlag:
			r.Flags = append(r.Flags, key+"="+value)
		case aVariable:
			env[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		r.Env = append(r.Env, key+"="+env[key])
	}
	return nil
}

func (r *Recipe) mod(o *target.Origin) string {
	switch {
	case r.Source.Version != "":
		return "mod" // go.mod is made, and go.sum from the checksum database
	case vendored(o):
		return "vendor"
	}
	return "readonly"
}

func boolean(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// What a setting becomes.
const (
	nothing = iota // it follows from the source
	aFlag
	aVariable
)

type setting struct {
	becomes int
	check   func(value string) error
}

// knownSettings lists what Go records (cmd/go/internal/load, setBuildInfo) and
// what may stand in it.
func knownSettings() map[string]setting {
	return map[string]setting{
		"-buildmode":     {aFlag, matches(`exe|pie`)},
		"-compiler":      {nothing, matches(`gc`)},
		"-tags":          {aFlag, matches(`[A-Za-z0-9_.]+(,[A-Za-z0-9_.]+)*`)},
		"-trimpath":      {aFlag, matches(`true`)},
		"-race":          {aFlag, matches(`true`)},
		"-ldflags":       {aFlag, perPackage(linkFlags())},
		"-gcflags":       {aFlag, perPackage(compileFlags())},
		"-asmflags":      {aFlag, perPackage(assembleFlags())},
		"-pgo":           {nothing, matches(`default\.pgo`)}, // what -trimpath leaves; found by itself
		"CGO_ENABLED":    {aVariable, matches(`[01]`)},
		"CGO_CFLAGS":     {aVariable, cOptions(cCompilerOptions())},
		"CGO_CPPFLAGS":   {aVariable, cOptions(cCompilerOptions())},
		"CGO_CXXFLAGS":   {aVariable, cOptions(cCompilerOptions())},
		"CGO_LDFLAGS":    {aVariable, cOptions(append(cCompilerOptions(), cLinkerOptions()...))},
		"DefaultGODEBUG": {nothing, matches(`[a-z0-9]+=[a-z0-9.]+(,[a-z0-9]+=[a-z0-9.]+)*`)}, // from go.mod and the main package
		"GOOS":           {aVariable, matches(`linux`)},
		"GOARCH":         {aVariable, matches(`amd64|arm64`)},
		"GOAMD64":        {aVariable, matches(`v[1-4]`)},
		"GOARM64":        {aVariable, matches(`v[89]\.[0-9](,(lse|crypto)){0,2}`)},
		"GOEXPERIMENT":   {aVariable, matches(`[a-z0-9]+(,[a-z0-9]+)*`)},
		"GOFIPS140":      {aVariable, matches(`latest|inprocess|certified|v[0-9]+\.[0-9]+\.[0-9]+`)},
		"vcs":            {nothing, matches(`git`)},
		"vcs.revision":   {nothing, matches(`[0-9a-f]{40,64}`)},
		"vcs.time":       {nothing, matches(`[0-9TZ:.-]+`)},
		"vcs.modified":   {nothing, matches(`false`)},
	}
}

// matches takes values that match the whole expression.
func matches(expr string) func(string) error {
	return func(value string) error {
		if !fits(expr, value) {
			return errUnknown
		}
		return nil
	}
}

// perPackage takes [PATTERN=]FLAGS, as -gcflags and its like do (cmd/go,
// "go help build").
func perPackage(known []flag) func(string) error {
	return func(value string) error {
		value = strings.TrimLeft(value, " ")
		if pattern, rest, ok := strings.Cut(value, "="); ok && !strings.HasPrefix(value, "-") {
			if err := matches(`[A-Za-z0-9_./]*[A-Za-z0-9_.][A-Za-z0-9_./-]*`)(pattern); err != nil {
				return err
			}
			value = rest
		}
		words, err := split(value)
		if err != nil {
			return err
		}
		return allow(words, known)
	}
}

// CheckLinkFlags returns nil if flags for the linker are of a known, harmless
// form.
func CheckLinkFlags(value string) error { return perPackage(linkFlags())(value) }

// cOptions takes the options of a C compiler.
func cOptions(known []option) func(string) error {
	return func(value string) error {
		words, err := split(value)
		if err != nil {
			return err
		}
		return allowOptions(words, known)
	}
}
