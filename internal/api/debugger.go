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

// Versions of Go that are not Delve's, but were tried: TestGoVersions in
// internal/agent/supervisor and internal/agent/functable.
const (
	oldestTried = "go1.18"
	oldestTable = "go1.20" // whose function table can be read
)

// Warning says what to expect of a program built by a Go version that Delve does not
// support, "" for a supported one. The session starts nevertheless.
func (d Debugger) Warning(built string) string {
	built, _, _ = strings.Cut(built, " ") // experiments follow
	if !version.IsValid(built) || !version.IsValid(d.OldestGo) || !version.IsValid(d.NewestGo) {
		return "" // development versions cannot be compared
	}
	const unknown = "everything is tried, but values and steps may be wrong"
	what, remedy := unknown, "build it with "+d.OldestGo+" or later"
	switch lang := version.Lang(built); {
	case version.Compare(lang, d.NewestGo) > 0:
		remedy = "use a dapbridge with a newer Delve"
	case version.Compare(lang, d.OldestGo) >= 0:
		return ""
	case version.Compare(lang, oldestTried) >= 0:
		what = "breakpoints, stacks, goroutines, steps, variables and calls have worked in tests, but less is tested than with those"
	}
	return fmt.Sprintf("the target was built with %s, but Delve %s supports %s to %s: %s; %s", built, d.Version, d.OldestGo, d.NewestGo, what, remedy)
}

// HasOldTable reports whether the function table of a program built by a Go version is too
// old to debug the program with no more than that.
func HasOldTable(built string) bool {
	built, _, _ = strings.Cut(built, " ")
	return version.IsValid(built) && version.Compare(version.Lang(built), oldestTable) < 0
}
