package config

import (
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// errorf returns an error whose summary is a single line, whatever a file or the name
// of a directory contains.
func errorf(code diag.Code, format string, args ...any) *diag.Error {
	e := diag.Errorf(code, format, args...)
	e.Summary = strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(diag.Escape(e.Summary))
	return e
}

// unreadableError is for a file that exists but cannot be read.
func unreadableError(path string, err error) error {
	return errorf(diag.ConfigInvalid, "cannot read %s: %w", path, err).
		WithHint("make it a readable configuration file, or move it away")
}

// withPermissionHint adds what to do about a file that others can write to.
func withPermissionHint(e *diag.Error) error {
	return e.WithHint("review the file, then make sure that only you can write to it (chmod go-w)")
}

// shorten bounds the length of text quoted from a file.
func shorten(text string) string {
	const maxLen = 80
	if len(text) <= maxLen {
		return text
	}
	return text[:maxLen] + "…"
}
