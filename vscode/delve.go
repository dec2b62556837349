package vscode

import (
	"fmt"
	"path/filepath"
)

const delve = "github.com/go-delve/delve/cmd/dlv@v1.27.2"

// DelveHint reports whether the Go extension will miss dlv, and then says how
// to get one. The extension does not start without a dlv on the host, although
// in mode remote with dlv-dap it never runs it. lookPath is exec.LookPath or
// alike; goBin are the directories besides PATH where the extension looks:
// GOBIN, GOPATH/bin, GOROOT/bin.
func DelveHint(lookPath func(file string) (string, error), goBin ...string) (hint string, missing bool) {
	candidates := []string{"dlv"}
	for _, dir := range goBin {
		if dir != "" {
			candidates = append(candidates, filepath.Join(dir, "dlv"))
		}
	}
	for _, file := range candidates {
		if _, err := lookPath(file); err == nil {
			return "", false
		}
	}
	return fmt.Sprintf("VS Code's Go extension starts only when it finds a dlv on this machine, though it will not run it: go install %s", delve), true
}
