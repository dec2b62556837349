package config

import (
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// errorf makes an error whose summary is one line, whatever a file or the name of
// a directory holds.
func errorf(code diag.Code, format string, args ...any) *diag.Error {
	e := diag.Errorf(code, format, args...)
	e.Summary = strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(diag.Escape(e.Summary))
	return e
}

// unreadable is for a file that is there and can't be used.
func unreadable(path string, err error) error {
	return errorf(diag.ConfigInvalid, "%s can't be read: %w", path, err).
		WithHint("make it a readable file of dapbridge's keys, or move it away")
}

// closeToOthers says what to do with a file that others can write to.
func closeToOthers(e *diag.Error) error {
	return e.WithHint("look what is in it, then let nobody else write to it (chmod go-w)")
}

// shorten keeps messages readable however much a file says.
func shorten(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
