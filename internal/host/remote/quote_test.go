package remote

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestQuote(t *testing.T) {
	for want, argv := range map[string][]string{
		"":                     nil,
		"''":                   {""},
		"uname -s -m":          {"uname", "-s", "-m"},
		"'a b'":                {"a b"},
		`'it'\''s'`:            {"it's"},
		`''\'''`:               {"'"},
		"'$x' '`y`' '\\' '\n'": {"$x", "`y`", `\`, "\n"},
		"'LC_ALL=C' '~'":       {"LC_ALL=C", "~"},
		"/a/b.c:d,e@f+g_h-i":   {"/a/b.c:d,e@f+g_h-i"},
	} {
		if got := Quote(argv); got != want {
			t.Errorf("Quote(%q) = %s, want %s", argv, got, want)
		}
	}
}

// split returns the words into which a real shell splits a line.
func split(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func FuzzQuote(f *testing.F) {
	testenv.NeedsTool(f, "sh")
	for _, seed := range []string{"", "a", "'", "\"", "\\", "$(x)", "a\nb", "-e", "%s", "~root", "\xff", "a=b", "#"} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		argv := []string{strings.ReplaceAll(a, "\x00", ""), strings.ReplaceAll(b, "\x00", "")}
		got := split(t, Quote(argv))
		if !slices.Equal(got, argv) {
			t.Errorf("%q became %q", argv, got)
		}
	})
}
