package logs

import (
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestJournalArguments(t *testing.T) {
	when := time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	for _, tt := range []struct {
		journal   Journal
		want, not []string
	}{
		{Journal{}, []string{"--unit=x.service", "--lines=100"}, []string{"--follow"}},
		{Journal{Follow: true}, []string{"--lines=10", "--follow"}, []string{"--no-tail"}},
		{Journal{Ago: 10 * time.Minute}, []string{"--since=-600s"}, []string{"--lines=100"}},
		{Journal{Since: when}, []string{"--since=@1795858200"}, []string{"--lines=100"}},
		{Journal{Since: when, Follow: true}, []string{"--since=@1795858200", "--follow", "--no-tail"}, []string{"--lines=10"}},
	} {
		got := tt.journal.argv("x.service")
		for _, a := range tt.want {
			if !slices.Contains(got, a) {
				t.Errorf("%+v: %q lacks %s", tt.journal, got, a)
			}
		}
		for _, a := range tt.not {
			if slices.Contains(got, a) {
				t.Errorf("%+v: %q has %s", tt.journal, got, a)
			}
		}
	}
}

func TestCopyEscaped(t *testing.T) {
	long := strings.Repeat("x", maxLineSize+10)
	for in, want := range map[string]string{
		"":                         "",
		"one\ntwo\n":               "one\ntwo\n",
		"\x1b[2Jcleared\rover\n":   "\\x1b[2Jcleared\\rover\n",
		"no end\x07":               "no end\\a",
		long + "\nshort\n":         long + "\nshort\n",
		"\x9b31m, \xff and \u202e": "\\ufffd31m, \\ufffd and \\u202e",
	} {
		var out strings.Builder
		lines, err := copyEscaped(&out, iotest.HalfReader(strings.NewReader(in)))
		if err != nil || out.String() != want || lines != strings.Count(in, "\n") {
			t.Errorf("%.20q became %.40q, %d lines, %v", in, out.String(), lines, err)
		}
	}
}
