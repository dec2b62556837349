package api

import (
	"fmt"
	"go/version"
	"strings"
)

// Debugger says which Delve the agent has, and of which Go versions the
// programs are that it knows, both ends included: "v1.27.2", "go1.25", "go1.27".
type Debugger struct {
	Version  string `json:"version"`
	OldestGo string `json:"oldestGo"`
	NewestGo string `json:"newestGo"`
}

// Warning says what to expect of a program that was built by another Go, ""
// if there is nothing to say. A session goes on nevertheless: most of it works.
func (d Debugger) Warning(built string) string {
	built, _, _ = strings.Cut(built, " ") // experiments follow
	if !version.IsValid(built) || !version.IsValid(d.OldestGo) || !version.IsValid(d.NewestGo) {
		return "" // a development version is not compared
	}
	const text = "the program was built by %s, and Delve %s knows %s to %s: values and steps may be wrong; %s"
	switch lang := version.Lang(built); {
	case version.Compare(lang, d.OldestGo) < 0:
		return fmt.Sprintf(text, built, d.Version, d.OldestGo, d.NewestGo, "build it by "+d.OldestGo+" or later")
	case version.Compare(lang, d.NewestGo) > 0:
		return fmt.Sprintf(text, built, d.Version, d.OldestGo, d.NewestGo, "take a dapbridge with a later Delve")
	}
	return ""
}
