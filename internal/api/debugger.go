package api

import (
	"fmt"
	"go/version"
	"strings"
)

// Debugger describes the agent's Delve: its version, and the oldest and newest Go
// version whose programs it supports ("v1.27.2", "go1.25", "go1.27").
type Debugger struct {
	Version  string `json:"version"`
	OldestGo string `json:"oldestGo"`
	NewestGo string `json:"newestGo"`
}

// Warning says what to expect of a program built by a Go version that Delve does not
// support, "" for a supported one. The session starts nevertheless, since most of it
// works.
func (d Debugger) Warning(built string) string {
	built, _, _ = strings.Cut(built, " ") // experiments follow
	if !version.IsValid(built) || !version.IsValid(d.OldestGo) || !version.IsValid(d.NewestGo) {
		return "" // development versions cannot be compared
	}
	const text = "the target was built with %s, but Delve %s supports %s to %s: values and steps may be wrong; %s"
	switch lang := version.Lang(built); {
	case version.Compare(lang, d.OldestGo) < 0:
		return fmt.Sprintf(text, built, d.Version, d.OldestGo, d.NewestGo, "build it with "+d.OldestGo+" or later")
	case version.Compare(lang, d.NewestGo) > 0:
		return fmt.Sprintf(text, built, d.Version, d.OldestGo, d.NewestGo, "use a dapbridge with a newer Delve")
	}
	return ""
}
