package recipe

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// errNotAllowed is the error for a value that is not known to be harmless.
var errNotAllowed = errors.New("unsupported value")

// flag is a flag of one of Go's tools, which take -name and --name, -name=value
// and -name value (package flag).
type flag struct {
	name  string
	value string // regular expression for the whole value; "" if the flag takes none
}

// option is an option of a C compiler, which is a single word.
type option struct {
	name  string
	value string // regular expression for everything after the name
}

// linkFlags returns the flags of cmd/link that name neither a program nor a file,
// directly or in what they pass on, unlike -extld, -extldflags (except for the values
// below), -extar, -r, -L, -o and -importcfg.
func linkFlags() []flag {
	const text = `[^\x00-\x1f\x7f]*`
	return []flag{
		{"s", ""}, {"w", ""}, {"bindnow", ""},
		{"X", `[A-Za-z0-9_][A-Za-z0-9_./~-]*\.[A-Za-z0-9_]+=` + text},
		{"linkmode", `internal|external|auto`},
		{"buildid", `[A-Za-z0-9_/-]*`},
		{"B", `gobuildid|none|0x[0-9A-Fa-f]{2,64}`},
		{"compressdwarf", `true|false|0|1`},
		{"checklinkname", `0|1|true|false`},
		{"extldflags", `((-static|-static-pie|-pie|-no-pie|-Wl,-z,(relro|now|noexecstack)|-Wl,-z,relro,-z,now)( +|$))*`},
	}
}

// compileFlags returns the flags of cmd/compile that change the code but not which
// files are read or written. -trimpath removes prefixes from source file names.
func compileFlags() []flag {
	return []flag{
		{"N", ""}, {"l", ""}, {"B", ""}, {"wb", `true|false`}, {"dwarf", `true|false`}, {"shared", ""},
		{"lang", `go1\.[0-9]+`}, {"c", `[0-9]+`}, {"spectre", `all|index|ret`}, {"trimpath", pathList},
	}
}

// assembleFlags returns the flags of cmd/asm of the same kind.
func assembleFlags() []flag {
	return []flag{{"trimpath", pathList}, {"spectre", `all|index|ret`}, {"D", `[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z0-9_]+)?`}}
}

// pathList matches a value of -trimpath without blanks and quotes, which would end
// the word.
const pathList = `[A-Za-z0-9_./@+=>;~,!-]*`

// cCompilerOptions returns the options of gcc and clang that change the code and cannot
// name a file, a program, a plugin or arguments for one, unlike -B, -fplugin, -specs,
// -wrapper, -Xlinker, -Wl, -Wa, -Wp, -I, -include and @file.
func cCompilerOptions() []option {
	return []option{
		{"O", `[0-3sgz]?|fast`}, {"g", `[0-3]?`}, {"m", `64|32|tune=[a-z0-9-]+|arch=[a-z0-9.+-]+|no-omit-leaf-frame-pointer|branch-protection=[a-z0-9+-]+`},
		{"D", `[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z0-9_.]*)?`}, {"U", `[A-Za-z_][A-Za-z0-9_]*`},
		{"f", `(no-)?(PIC|pic|PIE|pie|stack-protector(-strong|-all)?|stack-clash-protection|omit-frame-pointer|strict-aliasing|plt|common|` +
			`asynchronous-unwind-tables|exceptions|strict-overflow|lto)|cf-protection(=(full|branch|return|none))?|` +
			`(debug|file|macro)-prefix-map=` + pathList},
		{"W", `(no-)?(all|extra|error|format|error=[a-z-]+|format=[0-2]|format-security|unused-[a-z-]+|deprecated-declarations)`},
		{"std=", `[a-z0-9+:]+`}, {"pthread", ""}, {"pipe", ""}, {"static", ""},
	}
}

// cLinkerOptions returns the harmless options that CGO_LDFLAGS may also have.
func cLinkerOptions() []option {
	return []option{{"Wl,-z,", `relro|now|noexecstack|relro,-z,now`}, {"Wl,", `--as-needed|-Bsymbolic-functions|-O[0-3]`}, {"l", `[A-Za-z0-9_+.-]+`}}
}

// checkFlags returns nil if every word is a known flag or the value of one.
func checkFlags(words []string, known []flag) error {
	for len(words) > 0 {
		used := 0
		for _, f := range known {
			used = max(used, f.consume(words))
		}
		if used == 0 {
			return fmt.Errorf("%q is not known to be harmless", words[0])
		}
		words = words[used:]
	}
	return nil
}

// consume returns how many of the first words are f and its value, 0 if they are
// another flag or the value does not match.
func (f flag) consume(words []string) int {
	name, value, hasValue := strings.Cut(words[0], "=")
	switch {
	case name != "-"+f.name && name != "--"+f.name:
		return 0
	case f.value == "" && !hasValue, f.value != "" && hasValue && matchesFully(f.value, value):
		return 1
	case f.value != "" && !hasValue && len(words) > 1 && matchesFully(f.value, words[1]):
		return 2
	}
	return 0
}

// checkOptions returns nil if every word is a known option.
func checkOptions(words []string, known []option) error {
	for _, w := range words {
		if !slices.ContainsFunc(known, func(o option) bool {
			value, ok := strings.CutPrefix(w, "-"+o.name)
			return ok && matchesFully(o.value, value)
		}) {
			return fmt.Errorf("%q is not known to be harmless", w)
		}
	}
	return nil
}

// matchesFully reports whether the regular expression matches the whole value.
func matchesFully(expr, value string) bool {
	return regexp.MustCompile(`^(` + expr + `)$`).MatchString(value)
}

// splitQuoted splits a line into words as the go command does (cmd/internal/quoted,
// Split): a word that begins with a quote extends to the next one.
func splitQuoted(s string) ([]string, error) {
	const space = " \t\n\r"
	var words []string
	for {
		s = strings.TrimLeft(s, space)
		if s == "" {
			return words, nil
		}
		if quote := s[0]; quote == '"' || quote == '\'' {
			end := strings.IndexByte(s[1:], quote)
			if end < 0 {
				return nil, errors.New("unterminated quote")
			}
			words, s = append(words, s[1:1+end]), s[end+2:]
			continue
		}
		end := strings.IndexAny(s, space)
		if end < 0 {
			end = len(s)
		}
		words, s = append(words, s[:end]), s[end:]
	}
}
