package recipe

import (
	"maps"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// applySettings turns the recorded settings into flags and environment variables.
// It refuses an unknown setting, which may change the program or harm the host.
func (r *Recipe) applySettings(o *exe.Origin, _ Host) error {
	r.LinkFlags = !o.Trimpath
	r.Flags = []string{}
	env := map[string]string{"CGO_ENABLED": "0"}
	for _, key := range slices.Sorted(maps.Keys(o.Settings)) {
		value := o.Settings[key]
		known, ok := knownSettings()[key]
		if !ok {
			return refuse("the target was built with %s=%q, which is not supported", key, value)
		}
		if err := known.check(value); err != nil {
			return refuse("the target was built with %s=%q: %w", key, value, err)
		}
		switch known.form {
		case buildFlag:
			r.Flags = append(r.Flags, key+"="+value)
		case envVariable:
			env[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		r.Env = append(r.Env, key+"="+env[key])
	}
	return nil
}

// How a setting is used.
const (
	implied = iota // not at all: it follows from the source
	buildFlag
	envVariable
)

type setting struct {
	form  int
	check func(value string) error
}

// knownSettings returns the settings that Go records (cmd/go/internal/load,
// setBuildInfo) with their allowed values.
func knownSettings() map[string]setting {
	return map[string]setting{
		"-buildmode":     {buildFlag, matchesPattern(`exe|pie`)},
		"-compiler":      {implied, matchesPattern(`gc`)},
		"-tags":          {buildFlag, matchesPattern(`[A-Za-z0-9_.]+(,[A-Za-z0-9_.]+)*`)},
		"-trimpath":      {buildFlag, matchesPattern(`true`)},
		"-race":          {buildFlag, matchesPattern(`true`)},
		"-ldflags":       {buildFlag, flagList(linkFlags())},
		"-gcflags":       {buildFlag, flagList(compileFlags())},
		"-asmflags":      {buildFlag, flagList(assembleFlags())},
		"-pgo":           {implied, matchesPattern(`default\.pgo`)}, // recorded without its directory because of -trimpath; go build finds it itself
		"CGO_ENABLED":    {envVariable, matchesPattern(`[01]`)},
		"CGO_CFLAGS":     {envVariable, optionList(cCompilerOptions())},
		"CGO_CPPFLAGS":   {envVariable, optionList(cCompilerOptions())},
		"CGO_CXXFLAGS":   {envVariable, optionList(cCompilerOptions())},
		"CGO_LDFLAGS":    {envVariable, optionList(append(cCompilerOptions(), cLinkerOptions()...))},
		"DefaultGODEBUG": {implied, matchesPattern(`[a-z0-9]+=[a-z0-9.]+(,[a-z0-9]+=[a-z0-9.]+)*`)}, // from go.mod and the main package
		"GOOS":           {envVariable, matchesPattern(`linux`)},
		"GOARCH":         {envVariable, matchesPattern(`amd64|arm64`)},
		"GOAMD64":        {envVariable, matchesPattern(`v[1-4]`)},
		"GOARM64":        {envVariable, matchesPattern(`v[89]\.[0-9](,(lse|crypto)){0,2}`)},
		"GOEXPERIMENT":   {envVariable, matchesPattern(`[a-z0-9]+(,[a-z0-9]+)*`)},
		"GOFIPS140":      {envVariable, matchesPattern(`latest|inprocess|certified|v[0-9]+\.[0-9]+\.[0-9]+`)},
		"vcs":            {implied, matchesPattern(`git`)},
		"vcs.revision":   {implied, matchesPattern(`[0-9a-f]{40,64}`)},
		"vcs.time":       {implied, matchesPattern(`[0-9TZ:.-]+`)},
		"vcs.modified":   {implied, matchesPattern(`false`)},
	}
}

// matchesPattern returns a check for values that match the whole expression.
func matchesPattern(expr string) func(string) error {
	return func(value string) error {
		if !matchesFully(expr, value) {
			return errNotAllowed
		}
		return nil
	}
}

// flagList returns a check for [PATTERN=]FLAGS, the form of -gcflags and similar
// flags ("go help build").
func flagList(known []flag) func(string) error {
	return func(value string) error {
		value = strings.TrimLeft(value, " ")
		if pattern, rest, ok := strings.Cut(value, "="); ok && !strings.HasPrefix(value, "-") {
			if err := matchesPattern(`[A-Za-z0-9_./]*[A-Za-z0-9_.][A-Za-z0-9_./-]*`)(pattern); err != nil {
				return err
			}
			value = rest
		}
		words, err := splitQuoted(value)
		if err != nil {
			return err
		}
		return checkFlags(words, known)
	}
}

// CheckLinkFlags returns nil if all linker flags have a known, harmless form.
func CheckLinkFlags(value string) error { return flagList(linkFlags())(value) }

// optionList returns a check for options of a C compiler.
func optionList(known []option) func(string) error {
	return func(value string) error {
		words, err := splitQuoted(value)
		if err != nil {
			return err
		}
		return checkOptions(words, known)
	}
}
