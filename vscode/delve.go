package vscode

import (
	"fmt"
	"path/filepath"
)

const delve = "github.com/go-delve/delve/cmd/dlv@v1.27.2"

// DelveHint reports whether the Go extension will find no dlv, and if so, how to
// install one. The extension does not start a session without a dlv on the host,
// although it never runs it in mode remote with dlv-dap. lookPath is exec.LookPath or
// a stand-in. goBin lists the directories besides PATH that the extension searches:
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
	return fmt.Sprintf("VS Code's Go extension needs a dlv on this machine, although it will not run it: go install %s", delve), true
}
