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
		exists  string
		err     error
		missing bool
	}{
		{name: "on PATH", exists: "dlv"},
		{name: "in GOBIN", exists: filepath.Join("gobin", "dlv")},
		{name: "nowhere", exists: "elsewhere", missing: true},
		{name: "in the current directory", exists: "dlv", err: exec.ErrDot, missing: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tried []string
			lookPath := func(file string) (string, error) {
				tried = append(tried, file)
				if file == tt.exists {
					return file, tt.err
				}
				return "", errors.New("not found")
			}
			hint, missing := vscode.DelveHint(lookPath, "", "gobin")
			if missing != tt.missing {
				t.Fatalf("missing %v, want %v", missing, tt.missing)
			}
			if !missing {
				if hint != "" {
					t.Errorf("hint %q, although dlv exists", hint)
				}
				return
			}
			if want := "go install github.com/go-delve/delve/cmd/dlv@v"; !strings.Contains(hint, want) {
				t.Errorf("hint %q, want %q", hint, want)
			}
			if want := []string{"dlv", filepath.Join("gobin", "dlv")}; !slices.Equal(tried, want) {
				t.Errorf("tried %q, want %q", tried, want)
			}
		})
	}
}

// TestDelveHintVersion checks that the hint names the Delve version that dapbridge
// itself contains.
func TestDelveHintVersion(t *testing.T) {
	hint, _ := vscode.DelveHint(func(string) (string, error) { return "", errors.New("not found") })
	required := regexp.MustCompile(`github.com/go-delve/delve (v\S+)`).FindSubmatch(readFile(t, "../go.mod"))
	if required == nil || !strings.HasSuffix(hint, "@"+string(required[1])) {
		t.Errorf("go.mod requires %q, the hint is %q", required, hint)
	}
}
