package twin

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/procgroup"
)

// prepare finds the toolchain and makes the go command's environment: the user's,
// without what would change the program or let the recipe access what it must not.
func (j *job) prepare(ctx context.Context) (err error) {
	if j.goTool, err = exec.LookPath("go"); err != nil { // refuses one in the current directory
		return buildError("%w: building symbols needs the Go toolchain", errNoGo)
	}
	if err := os.MkdirAll(filepath.Join(j.work, "tmp"), 0o700); err != nil {
		return buildError("%w", err)
	}
	user, err := j.goEnv(ctx, withVariables(withoutGo(j.Env), "GOTOOLCHAIN=local", "GOFLAGS="), userSettings()...)
	if err != nil {
		return buildError("go env: %w", err)
	}
	j.cache = user["GOMODCACHE"]
	j.env = withVariables(withoutGo(j.Env), j.buildVariables(user)...)
	toolchain, err := j.goEnv(ctx, j.env, "GOROOT", "GOVERSION")
	if err != nil {
		return buildError("the target was built by %s, which is not available: %w", j.recipe.Toolchain, err)
	}
	if toolchain["GOVERSION"] != j.recipe.Toolchain {
		return buildError("the target was built by %s, but the go command provides %s", j.recipe.Toolchain, toolchain["GOVERSION"])
	}
	j.goroot = toolchain["GOROOT"]
	return nil
}

// userSettings returns the variables whose values the user may set with go env -w.
func userSettings() []string {
	return []string{"GOPROXY", "GONOPROXY", "GOPRIVATE", "GONOSUMDB", "GOSUMDB", "GOMODCACHE", "GOPATH", "GOINSECURE", "GOAUTH"}
}

// buildVariables returns the variables that the build gets in addition to the user's
// environment.
func (j *job) buildVariables(user map[string]string) []string {
	v := []string{
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=" + j.recipe.Toolchain,
		"GOCACHE=" + filepath.Join(j.Dir, "gocache"), "GOTMPDIR=" + filepath.Join(j.work, "tmp"),
		// The node chooses the module paths: no version control system runs for
		// them, and what a proxy returns is verified.
		"GOVCS=*:off", "GOPROXY=" + proxies(user["GOPROXY"]),
	}
	for _, name := range userSettings() {
		value := user[name]
		if name == "GOPROXY" || value == "" || name == "GOSUMDB" && value == "off" {
			continue
		}
		v = append(v, name+"="+value)
	}
	return append(v, j.recipe.Env...)
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

// withoutGo removes the variables that control the go command, since the recipe
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

// goEnv returns what go env prints for the names.
func (j *job) goEnv(ctx context.Context, env []string, names ...string) (map[string]string, error) {
	out, err := procgroup.Output(ctx, j.work, env, j.goTool, append([]string{"env", "-json"}, names...)...)
	if err != nil {
		return nil, err
	}
	var values map[string]string
	return values, json.Unmarshal(out, &values)
}
