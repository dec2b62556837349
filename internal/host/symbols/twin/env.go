package twin

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/procgroup"
)

// prepare finds the toolchain and makes the environment that the go command
// gets: the user's, but for what would change the program or let the recipe
// reach where it must not.
func (j *job) prepare(ctx context.Context) (err error) {
	if j.goTool, err = exec.LookPath("go"); err != nil { // refuses one in the current directory
		return buildError("%w: a twin is built by the Go toolchain", errNoGo)
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
	chain, err := j.goEnv(ctx, j.env, "GOROOT", "GOVERSION")
	if err != nil {
		return buildError("the target was built by %s, which can't be had: %w", j.recipe.Toolchain, err)
	}
	if chain["GOVERSION"] != j.recipe.Toolchain {
		return buildError("the target was built by %s; the go command gives %s", j.recipe.Toolchain, chain["GOVERSION"])
	}
	j.goroot = chain["GOROOT"]
	return nil
}

// userSettings are those that the user may have made by go env -w.
func userSettings() []string {
	return []string{"GOPROXY", "GONOPROXY", "GOPRIVATE", "GONOSUMDB", "GOSUMDB", "GOMODCACHE", "GOPATH", "GOINSECURE", "GOAUTH"}
}

// variables are what the build sees besides the user's environment.
func (j *job) buildVariables(user map[string]string) []string {
	v := []string{
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=" + j.recipe.Toolchain,
		"GOCACHE=" + filepath.Join(j.Dir, "gocache"), "GOTMPDIR=" + filepath.Join(j.work, "tmp"),
		// Names of modules come from the node: no version control system is
		// run for them, and what a proxy gives is checked.
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

// proxies is the user's list without "direct".
func proxies(list string) string {
	var kept strings.Builder
	for list != "" {
		end := strings.IndexAny(list, ",|")
		if end < 0 {
			end = len(list)
		}
		one := list[:end]
		if one != "direct" && one != "" {
			kept.WriteString(one)
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

// withoutGo leaves out what steers the go command: the recipe says that. Which
// compiler there is (CC) and the like is the user's.
func withoutGo(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		name = strings.ToUpper(name) // Windows
		keep := name == "GOPATH" || name == "GOMODCACHE" || slices.Contains(userSettings(), name) || name == "GOENV"
		return !keep && (strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "CGO_")) || slices.Contains(gitVariables(), name)
	})
}

// gitVariables would have git look into another repository than it is told.
func gitVariables() []string {
	return []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR"}
}

// withVariables adds variables, the last of a name wins.
func withVariables(env []string, more ...string) []string { return append(slices.Clone(env), more...) }

// goEnv asks the go command.
func (j *job) goEnv(ctx context.Context, env []string, names ...string) (map[string]string, error) {
	out, err := j.output(ctx, j.work, env, j.goTool, append([]string{"env", "-json"}, names...)...)
	if err != nil {
		return nil, err
	}
	var values map[string]string
	return values, json.Unmarshal(out, &values)
}

// output runs a command and returns what it writes; its error is the end of
// what it says on standard error.
func (j *job) output(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	var out, said strings.Builder
	cmd := procgroup.Command(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, withVariables(env, "PWD="+dir), &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if text := lastLines(said.String(), 5); text != "" {
			return nil, errors.New(text)
		}
		return nil, err
	}
	return []byte(out.String()), nil
}

func asExit(err error, exit **exec.ExitError) bool { return errors.As(err, exit) }
