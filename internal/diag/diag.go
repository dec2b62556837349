// Package diag defines dapbridge's failures: one catalogue of error codes, each
// with its remedy and exit status. All packages import it; it imports none of
// them.
package diag

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Error is a failure that a person can act on. It crosses the link between
// node and host as JSON, so a Hint may come from the node: print it through
// [Escape].
type Error struct {
	Code    Code   `json:"code"`
	Summary string `json:"summary"`        // what is wrong, one line, no final period
	Hint    string `json:"hint,omitempty"` // what to do next, one line
	Err     error  `json:"-"`              // the wrapped error, if any
}

// Errorf returns an Error with the code's remedy from the catalogue. A %w in
// the format is unwrapped by errors.Is and errors.As.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Summary: err.Error(), Hint: lookup(code).Hint, Err: errors.Unwrap(err)}
}

// WithHint replaces the catalogue's remedy with a more specific one.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns the summary, which already contains a wrapped error's text.
func (e *Error) Error() string { return e.Summary }

// Unwrap returns the error that Errorf wrapped, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Exit returns the exit status for err: 0 for nil, the catalogue's for an
// *Error, 1 for any other.
func Exit(err error) int {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return lookup(e.Code).Exit
	}
	return 1
}

// CodeOf returns the code of the *Error in err's chain, or [Internal].
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// Escape returns s with every control and non-printing character written as a
// Go escape, so that text from a node cannot drive a terminal. Newlines and
// tabs stay.
func Escape(s string) string {
	clean := func(r rune) bool {
		return r == '\n' || r == '\t' || (unicode.IsPrint(r) && r != unicode.ReplacementChar)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			b.WriteRune(r)
		} else {
			q := fmt.Sprintf("%+q", r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// EscapeLine is Escape for text that must stay on one line and in its column: it
// also escapes newlines and tabs, so that a name cannot start a line of its own.
func EscapeLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(Escape(s))
}

// Hint returns the remedy of the *Error in err's chain, or "".
func Hint(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
