package diag_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestCatalogueIsComplete(t *testing.T) {
	seen := map[diag.Code]bool{}
	for _, e := range diag.Catalogue() {
		if seen[e.Code] {
			t.Errorf("%s stands twice", e.Code)
		}
		seen[e.Code] = true
		if e.Hint == "" || e.Exit < 1 || e.Exit > 5 {
			t.Errorf("%s: hint %q, exit %d", e.Code, e.Hint, e.Exit)
		}
		if text := diag.Explain(e.Code); !strings.HasSuffix(text, ".") {
			t.Errorf("%s is explained by %q", e.Code, text)
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
	if diag.Exit(err) != 3 || diag.Exit(nil) != 0 || diag.Exit(io.EOF) != 1 {
		t.Error("exit status")
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
