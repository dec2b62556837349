package vscode_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/vscode"
)

func TestDelveHint(t *testing.T) {
	for _, tt := range []struct {
		name    string
		there   string
		err     error
		missing bool
	}{
		{name: "on PATH", there: "dlv"},
		{name: "in GOBIN", there: filepath.Join("gobin", "dlv")},
		{name: "nowhere", there: "elsewhere", missing: true},
		{name: "in the current directory", there: "dlv", err: exec.ErrDot, missing: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			lookPath := func(file string) (string, error) {
				asked = append(asked, file)
				if file == tt.there {
					return file, tt.err
				}
				return "", errors.New("not found")
			}
			hint, missing := vscode.DelveHint(lookPath, "", "gobin")
			if missing != tt.missing || missing != strings.Contains(hint, "go install github.com/go-delve/delve/cmd/dlv@v") {
				t.Errorf("missing %v: %q", missing, hint)
			}
			if missing && !slices.Equal(asked, []string{"dlv", filepath.Join("gobin", "dlv")}) {
				t.Errorf("asked for %q", asked)
			}
		})
	}
}

// The dlv that users are told to install is the one that dapbridge runs.
func TestDelveHintVersion(t *testing.T) {
	hint, _ := vscode.DelveHint(func(string) (string, error) { return "", errors.New("not found") })
	required := regexp.MustCompile(`github.com/go-delve/delve (v\S+)`).FindSubmatch(readFile(t, "../go.mod"))
	if required == nil || !strings.HasSuffix(hint, "@"+string(required[1])) {
		t.Errorf("go.mod requires %q, the hint is %q", required, hint)
	}
}
