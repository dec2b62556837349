package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
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

// cached returns where the agent that was built for this program is, if it was.
func (s AgentSource) cached(arch string) string {
	pattern := filepath.Join(s.CacheDir, "agent-linux-"+arch+"-")
	if all, _ := filepath.Glob(pattern + "*"); len(all) == 0 {
		return pattern // without reading this program
	}
	return pattern + s.key()
}

// key identifies this build of the program: two with the same key have the same agent.
func (s AgentSource) key() string {
	if s.Sum != "" {
		return fmt.Sprintf("%.16x", sha256.Sum256([]byte(s.Version+" "+s.Sum)))
	}
	hash, err := hashFile(s.Self)
	if err != nil {
		return "unknown"
	}
	return hash[:16]
}

// build builds an agent from the source that this program was built from, and returns
// where it is cached.
func (s AgentSource) build(ctx context.Context, arch string) (string, error) {
	tool, err := exec.LookPath("go") // fails for one in the current directory
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.CacheDir, 0o700); err != nil {
		return "", err
	}
	src, err := s.sourceDir(ctx, tool)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.CacheDir, "agent-linux-"+arch+"-"+s.key())
	s.log().Info("building the agent with the Go toolchain", "for", "linux/"+arch, "source", src)
	if err := s.compile(ctx, tool, src, path, arch); err != nil {
		return "", err
	}
	pruneAgents(s.CacheDir)
	return path, nil
}

// compile builds into a temporary file and renames it, so that no other process
// ever sees an incomplete agent.
func (s AgentSource) compile(ctx context.Context, tool, src, path, arch string) error {
	tmp, err := os.CreateTemp(s.CacheDir, "build-*")
	if err != nil {
		return err
	}
	_ = tmp.Close()
	defer os.Remove(tmp.Name())
	ldflags := "-s -w"
	if regexp.MustCompile(`^v[0-9A-Za-z.+-]+$`).MatchString(s.Version) {
		ldflags += " -X main.release=" + s.Version // what the Makefile sets too
	}
	cmd := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags="+ldflags, "-o", tmp.Name(), "./cmd/dapbridge")
	cmd.Dir = src
	cmd.Env = append(cmd.Environ(), buildEnv(arch)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w: %s", src, err, OneLine(out))
	}
	if err := checkUsable(tmp.Name(), arch); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// buildEnv overrides the user's settings that would change the result or break the
// build. GOFLAGS can't be empty: go would then use the value from go env -w.
func buildEnv(arch string) []string {
	return []string{
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-trimpath", "GOWORK=off", "GO111MODULE=on",
	}
}

// sourceDir returns the directory of this program's source: out of the module cache if it
// was built from there, or is a release; otherwise the checkout in which this file was
// compiled, if it still exists. A build from a checkout may be stamped with a version that
// was never published.
func (s AgentSource) sourceDir(ctx context.Context, tool string) (string, error) {
	if s.Sum != "" || isExact(s.Version) && !isPseudo(s.Version) {
		return s.downloadSource(ctx, tool)
	}
	return checkoutDir()
}

// isPseudo reports whether a version names a commit (go.dev/ref/mod#pseudo-versions).
func isPseudo(version string) bool {
	return regexp.MustCompile(`[0-9]{14}-[0-9a-f]{12}`).MatchString(version)
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

// downloadSource has the go command put this program's version into the module cache,
// unless it is there, and returns where.
func (s AgentSource) downloadSource(ctx context.Context, tool string) (string, error) {
	name := module + "@" + s.Version
	cmd := exec.CommandContext(ctx, tool, "mod", "download", "-json", name)
	cmd.Dir = s.CacheDir
	cmd.Env = append(cmd.Environ(), buildEnv(runtime.GOARCH)...)
	out, err := cmd.Output() // JSON, with an Error if it failed
	var result struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &result); err == nil {
		err = jsonErr
	}
	if result.Error != "" {
		err = errors.New(result.Error)
	}
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", name, err)
	}
	if s.Sum != "" && s.Sum != result.Sum {
		return "", fmt.Errorf("go mod download %s: it is %s, and this program was built from %s", name, result.Sum, s.Sum)
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
