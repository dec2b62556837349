// Package gocmd runs the user's go command for what a node has named: with a toolchain of
// the caller's choice, and so that nothing is fetched but from the user's proxies,
// verified by the checksum database.
package gocmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/procgroup"
)

// Go is a go command with its environment.
type Go struct {
	Tool    string   // path of the go command
	Env     []string // what it runs with
	Cache   string   // GOMODCACHE
	GOROOT  string   // of the toolchain
	Version string   // GOVERSION of the toolchain
}

// Errors of [New].
var (
	ErrNoGo        = errors.New("no go command on the PATH")
	ErrNoToolchain = errors.New("the toolchain is not available")
)

// New finds the go command on the PATH and has it use a toolchain, which it downloads if
// necessary. toolchain is a value of GOTOOLCHAIN, env the user's environment, dir an
// existing directory without a go.mod, and variables are additional ones, which take
// precedence.
func New(ctx context.Context, env []string, toolchain, dir string, variables ...string) (*Go, error) {
	tool, err := exec.LookPath("go") // refuses one in the current directory
	if err != nil {
		return nil, ErrNoGo
	}
	g := &Go{Tool: tool, Env: withVariables(withoutGo(env), "GOTOOLCHAIN=local", "GOFLAGS=")}
	user, err := g.Getenv(ctx, dir, userSettings()...)
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	g.Cache = user["GOMODCACHE"]
	g.Env = withVariables(withoutGo(env), "GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN="+toolchain,
		// The node chooses the module paths: no version control system runs for
		// them, and what a proxy returns is verified.
		"GOVCS=*:off", "GOPROXY="+proxies(user["GOPROXY"]))
	for _, name := range userSettings() {
		value := user[name]
		if name == "GOPROXY" || value == "" || name == "GOSUMDB" && value == "off" {
			continue
		}
		g.Env = append(g.Env, name+"="+value)
	}
	g.Env = append(g.Env, variables...)
	own, err := g.Getenv(ctx, dir, "GOROOT", "GOVERSION")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoToolchain, err)
	}
	g.GOROOT, g.Version = own["GOROOT"], own["GOVERSION"]
	return g, nil
}

// Run runs the go command in a directory and returns its standard output.
func (g *Go) Run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return procgroup.Output(ctx, dir, g.Env, g.Tool, args...)
}

// Getenv returns the values of variables that go env prints.
func (g *Go) Getenv(ctx context.Context, dir string, names ...string) (map[string]string, error) {
	out, err := g.Run(ctx, dir, append([]string{"env", "-json"}, names...)...)
	if err != nil {
		return nil, err
	}
	var values map[string]string
	err = json.Unmarshal(out, &values)
	return values, err
}

// userSettings returns the variables whose values the user may set with go env -w.
func userSettings() []string {
	return []string{"GOPROXY", "GONOPROXY", "GOPRIVATE", "GONOSUMDB", "GOSUMDB", "GOMODCACHE", "GOPATH", "GOINSECURE", "GOAUTH"}
}

// proxies returns the user's GOPROXY without "direct".
func proxies(list string) string {
	var kept strings.Builder
	for list != "" {
		end := strings.IndexAny(list, ",|")
		if end < 0 {
			end = len(list)
		}
		proxy := list[:end]
		if proxy != "direct" && proxy != "" {
			kept.WriteString(proxy)
			if end < len(list) {
				kept.WriteByte(list[end])
			}
		}
		list = list[min(end+1, len(list)):]
	}
	if s := strings.TrimRight(kept.String(), ",|"); s != "" {
		return s
	}
	return "off"
}

// withoutGo removes the variables that control the go command, since the caller
// decides that. It keeps those that describe the machine, such as CC.
func withoutGo(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		name = strings.ToUpper(name) // Windows
		keep := name == "GOPATH" || name == "GOMODCACHE" || slices.Contains(userSettings(), name) || name == "GOENV"
		return !keep && (strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "CGO_")) || slices.Contains(gitVariables(), name)
	})
}

// gitVariables returns the variables that redirect git to another repository.
func gitVariables() []string {
	return []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR"}
}

// withVariables adds variables; if a name occurs twice, the last value wins.
func withVariables(env []string, more ...string) []string { return append(slices.Clone(env), more...) }
