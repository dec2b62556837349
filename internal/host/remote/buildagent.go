package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const module = "github.com/dapbridge/dapbridge"

// maxCachedAgents bounds how many agents stay in the cache. Each build of this
// program adds one.
const maxCachedAgents = 4

// buildAgent builds an agent from the source that this program was built from, once
// for each build of this program.
func buildAgent(ctx context.Context, o AgentOptions) (string, error) {
	self, err := hashFile(o.Self)
	if err != nil {
		return "", err
	}
	path := filepath.Join(o.CacheDir, fmt.Sprintf("agent-%s-%s-%.16s", o.OS, o.Arch, self))
	if checkUsable(path, o) == nil {
		return path, nil
	}
	tool, err := exec.LookPath("go") // fails for one in the current directory
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(o.CacheDir, 0o700); err != nil {
		return "", err
	}
	src, err := sourceDir(ctx, tool, o)
	if err != nil {
		return "", err
	}
	o.Log.Info("building the agent with the Go toolchain", "for", o.OS+"/"+o.Arch, "source", src)
	if err := compileAgent(ctx, tool, src, path, o); err != nil {
		return "", err
	}
	pruneAgents(o.CacheDir)
	return path, nil
}

// compileAgent builds into a temporary file and renames it, so that no other process
// ever sees an incomplete agent.
func compileAgent(ctx context.Context, tool, src, path string, o AgentOptions) error {
	tmp, err := os.CreateTemp(o.CacheDir, "build-*")
	if err != nil {
		return err
	}
	_ = tmp.Close()
	defer os.Remove(tmp.Name())
	ldflags := "-s -w"
	if regexp.MustCompile(`^v[0-9A-Za-z.+-]+$`).MatchString(o.Version) {
		ldflags += " -X main.release=" + o.Version // what the Makefile sets too
	}
	cmd := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags="+ldflags, "-o", tmp.Name(), "./cmd/dapbridge")
	cmd.Dir = src
	cmd.Env = append(cmd.Environ(), buildEnv(o)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w: %s", src, err, OneLine(out))
	}
	if err := checkUsable(tmp.Name(), o); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// buildEnv overrides the user's settings that would change the result or break the
// build. GOFLAGS can't be empty: go would then use the value from go env -w.
func buildEnv(o AgentOptions) []string {
	return []string{
		"CGO_ENABLED=0", "GOOS=" + o.OS, "GOARCH=" + o.Arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-trimpath", "GOWORK=off", "GO111MODULE=on",
	}
}

// sourceDir returns the directory of this module's source: for a release the one
// that the toolchain downloads, otherwise the checkout that this file was compiled
// in, if it still exists. A build from a checkout may be stamped with a version that
// was never published.
func sourceDir(ctx context.Context, tool string, o AgentOptions) (string, error) {
	pseudo := regexp.MustCompile(`[0-9]{14}-[0-9a-f]{12}|\+dirty`)
	if strings.HasPrefix(o.Version, "v") && !pseudo.MatchString(o.Version) {
		return downloadSource(ctx, tool, o)
	}
	dir, err := checkoutDir()
	if err != nil && strings.HasPrefix(o.Version, "v") {
		return downloadSource(ctx, tool, o)
	}
	return dir, err
}

// checkoutDir returns the root of the module that this file was compiled in.
func checkoutDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // -trimpath leaves no absolute path
		return "", errors.New("this program was built without the path of its source")
	}
	root := filepath.Dir(file)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	for errors.Is(err, fs.ErrNotExist) && root != filepath.Dir(root) {
		root = filepath.Dir(root)
		mod, err = os.ReadFile(filepath.Join(root, "go.mod"))
	}
	if err != nil {
		return "", fmt.Errorf("find the source of this program: %w", err)
	}
	if line, _, _ := bytes.Cut(mod, []byte("\n")); strings.TrimSpace(string(line)) != "module "+module {
		return "", fmt.Errorf("%s is not the source of %s", root, module)
	}
	return root, nil
}

func downloadSource(ctx context.Context, tool string, o AgentOptions) (string, error) {
	cmd := exec.CommandContext(ctx, tool, "mod", "download", "-json", module+"@"+o.Version)
	cmd.Dir = o.CacheDir
	cmd.Env = append(cmd.Environ(), buildEnv(o)...)
	out, err := cmd.Output() // JSON, with an Error if it failed
	var result struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &result); err == nil {
		err = jsonErr
	}
	if result.Error != "" {
		err = errors.New(result.Error)
	}
	if err != nil {
		return "", fmt.Errorf("go mod download %s@%s: %w", module, o.Version, err)
	}
	return result.Dir, nil
}

// pruneAgents removes the oldest agents beyond maxCachedAgents. One that can't be removed
// is left.
func pruneAgents(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "agent-*")) // the pattern is well-formed
	age := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(age(b), age(a)) })
	for _, f := range files[min(len(files), maxCachedAgents):] {
		_ = os.Remove(f)
	}
}
