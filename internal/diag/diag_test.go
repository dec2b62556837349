package diag_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestCatalogueIsComplete(t *testing.T) {
	seen, titles := map[diag.Code]bool{}, map[string]bool{}
	for _, e := range diag.Catalogue() {
		if seen[e.Code] {
			t.Errorf("%s is listed twice", e.Code)
		}
		seen[e.Code] = true
		if e.Hint == "" {
			t.Errorf("%s has no hint", e.Code)
		}
		if e.Exit < 1 || e.Exit > 5 {
			t.Errorf("%s has the exit status %d", e.Code, e.Exit)
		}
		explained := diag.Explain(e.Code)
		if explained.Title == "" || titles[explained.Title] {
			t.Errorf("%s has no title of its own: %q", e.Code, explained.Title)
		}
		titles[explained.Title] = true
		if !strings.HasSuffix(explained.Text, ".") {
			t.Errorf("the explanation of %s is not a sentence: %q", e.Code, explained.Text)
		}
	}
}

func TestErrorf(t *testing.T) {
	err := diag.Errorf(diag.NodeUnreachable, "dial: %w", io.ErrUnexpectedEOF)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the wrapped error is lost")
	}
	if !errors.Is(err, &diag.Error{Code: diag.NodeUnreachable}) {
		t.Error("the code does not match")
	}
	for _, tt := range []struct {
		err  error
		want int
	}{{err, 3}, {nil, 0}, {io.EOF, 1}} {
		if got := diag.Exit(tt.err); got != tt.want {
			t.Errorf("Exit(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain äö\n":         "plain äö\n",
		"\x1b[31mred\x1b[0m": `\x1b[31mred\x1b[0m`,
		"a\rb\u202e":         `a\rb\u202e`,
		"\xff":               `\ufffd`,
	} {
		if got := diag.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
		if got := diag.EscapeLine(in); got != strings.ReplaceAll(want, "\n", `\n`) {
			t.Errorf("EscapeLine(%q) = %q", in, got)
		}
	}
}
