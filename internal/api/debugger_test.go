package api_test

import (
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
)

// TestDebuggerWarns compares a target's Go version with those that the agent's Delve
// supports.
func TestDebuggerWarns(t *testing.T) {
	d := api.Debugger{Version: "v1.27.2", OldestGo: "go1.25", NewestGo: "go1.27"}
	for built, want := range map[string]string{
		"go1.25":                "",
		"go1.25.3":              "",
		"go1.27.9 X:nodwarf5":   "",
		"go1.27rc1":             "",
		"go1.24.13":             "variables and calls have worked in tests, but less is tested than with those; build it with go1.25 or later",
		"go1.18":                "variables and calls have worked in tests",
		"go1.17.13":             "everything is tried, but values and steps may be wrong; build it with go1.25 or later",
		"go1.28rc1":             "everything is tried, but values and steps may be wrong; use a dapbridge with a newer Delve",
		"go2.0":                 "a newer Delve",
		"devel go1.29-a1b2c3d4": "",
		"":                      "",
		"\x1b[31mgo1":           "",
	} {
		got := d.Warning(built)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want …%s…", built, got, want)
		}
		if got == "" {
			continue
		}
		for _, version := range []string{"built with " + built, "Delve v1.27.2 supports go1.25 to go1.27"} {
			if !strings.Contains(got, version) {
				t.Errorf("%q: %q lacks %q", built, got, version)
			}
		}
	}
	if w := (api.Debugger{OldestGo: "go9", NewestGo: "x"}).Warning("go1.24"); w != "" {
		t.Errorf("malformed versions: %q, want none", w)
	}
}

func TestHasOldTable(t *testing.T) {
	for built, want := range map[string]bool{
		"go1.19.13": true, "go1.20": false, "go1.20.1 X:nocoverageredesign": false, "go1.28": false, "devel go1.29-a1b2c3d4": false, "": false,
	} {
		if got := api.HasOldTable(built); got != want {
			t.Errorf("%q: %t, want %t", built, got, want)
		}
	}
}
