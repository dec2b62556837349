package filesync

import (
	"strings"
	"testing"
)

// FuzzRules matches a path against arbitrary rules, and against itself as a rule with
// each byte escaped, which must match.
func FuzzRules(f *testing.F) {
	for _, text := range []string{"*.log\n!/a/**/b/\n", "[[:alpha:]-z\\]!^]\r\n\\", "\ufeff#\n\\#a\\ \n", "**/**a*/?[!a-\\c]**"} {
		f.Add(text, "a/b/c.log")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		decide(parseRules(text), path, true)
		if path == "" || strings.ContainsAny(path, "\x00\n") || strings.Trim(path, "/") != path || strings.Contains(path, "//") || strings.HasSuffix(path, "\r") { // part of the line's end for git
			return
		}
		var itself strings.Builder
		itself.WriteByte('/')
		for _, b := range []byte(path) {
			if b != '/' {
				itself.WriteByte('\\')
			}
			itself.WriteByte(b)
		}
		if ignored, decided := decide(parseRules(itself.String()), path, false); !ignored || !decided {
			t.Errorf("%q does not match %q", itself.String(), path)
		}
	})
}
