package gosource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"
)

const (
	toolchainModule = "golang.org/toolchain"
	fetchTimeout    = 10 * time.Minute
	maxFetches      = 4
)

// Fetcher downloads modules into the host's module cache with the go command: those whose
// content is pinned by a go.sum of the workspace, and toolchains, whose content is pinned
// by the checksum database. It contacts only the user's proxies, never a repository,
// since a module path can name any server.
type Fetcher struct {
	env  Env
	sums map[module.Version][]string // lines of go.sum
}

// FetchResult is the result of fetching one module. If Err is nil, the module is in
// the module cache.
type FetchResult struct {
	Module module.Version
	Took   time.Duration
	Err    error
}

// NewFetcher returns a Fetcher for a workspace.
func NewFetcher(s Source) *Fetcher {
	f := &Fetcher{env: s.Env, sums: map[module.Version][]string{}}
	for _, m := range s.Modules {
		f.readSums(filepath.Join(m.Root, "go.sum"))
	}
	if s.Env.GOWORK != "" && s.Env.GOWORK != "off" {
		f.readSums(s.Env.GOWORK + ".sum")
	}
	return f
}

// readSums reads a go.sum, if it exists (go.dev/ref/mod, "go.sum files"):
//
//	PATH VERSION[/go.mod] HASH
func (f *Fetcher) readSums(name string) {
	data, err := readFile(name)
	if err != nil {
		return
	}
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) != 3 {
			continue
		}
		m := module.Version{Path: fields[0], Version: fields[1]}
		f.sums[m] = append(f.sums[m], strings.Join(fields, " "))
	}
}

// Check returns nil if m may be fetched without the user's consent, or else the
// reason why not.
func (f *Fetcher) Check(m module.Version) error {
	switch {
	case f.env.GOMODCACHE == "":
		return errors.New("no go command on the PATH")
	case f.proxyList() == "":
		return errors.New("GOPROXY names no proxy")
	case m.Path == toolchainModule && (f.env.GOSUMDB == "off" || f.env.GOSUMDB == "" || module.MatchPrefixPatterns(f.env.GONOSUMDB, m.Path)):
		return errors.New("the checksum database, which verifies toolchains, is disabled (GOSUMDB, GONOSUMDB)")
	case m.Path != toolchainModule && len(f.sums[m]) == 0:
		return errors.New("it is not in the workspace's go.sum")
	case module.MatchPrefixPatterns(f.env.GONOPROXY, m.Path):
		return errors.New("it is private (GONOPROXY)")
	}
	return module.CheckPath(m.Path)
}

// proxyList returns GOPROXY without "direct" and cut off at "off".
func (f *Fetcher) proxyList() string {
	var kept strings.Builder
	for rest := f.env.GOPROXY; rest != ""; {
		item, separator := rest, ""
		if i := strings.IndexAny(rest, ",|"); i >= 0 {
			item, separator = rest[:i], rest[i:i+1]
		}
		rest = rest[len(item)+len(separator):]
		switch strings.TrimSpace(item) {
		case "off":
			rest = ""
		case "direct", "":
		default:
			kept.WriteString(item + separator)
		}
	}
	return strings.TrimRight(kept.String(), ",|")
}

// Fetch downloads modules, several at once, and calls report for each, from one
// goroutine at a time. It blocks until all are done; if ctx ends, the remaining
// downloads fail at once.
func (f *Fetcher) Fetch(ctx context.Context, modules []module.Version, report func(FetchResult)) {
	var mu sync.Mutex // serialises report
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxFetches)
	for _, m := range slices.Compact(slices.Clone(modules)) {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			start := time.Now()
			err := f.Check(m)
			if err == nil {
				err = f.download(ctx, m)
			}
			mu.Lock()
			defer mu.Unlock()
			report(FetchResult{Module: m, Took: time.Since(start), Err: err})
		})
	}
	wg.Wait()
}

// download runs go mod download in a temporary directory, so that it neither reads
// nor changes the workspace. A go.sum there holds the workspace's lines for m.
func (f *Fetcher) download(ctx context.Context, m module.Version) (err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "dapbridge-fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sums := slices.Concat(f.sums[m], f.sums[module.Version{Path: m.Path, Version: m.Version + "/go.mod"}])
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), []byte(strings.Join(sums, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module fetch\n"), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", m.String())
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), f.downloadEnv()...)
	if _, err := cmd.Output(); err != nil {
		return fmt.Errorf("go mod download %s: %w", m, withStderr(err))
	}
	return nil
}

// downloadEnv overrides all settings that would let the go command contact a repository,
// skip a checksum or run another toolchain.
func (f *Fetcher) downloadEnv() []string {
	flags := ""
	if slices.Contains(strings.Fields(f.env.GOFLAGS), "-modcacherw") {
		flags = "-modcacherw"
	}
	return []string{
		"GOPROXY=" + f.proxyList(), "GOVCS=*:off", "GOINSECURE=", "GOTOOLCHAIN=local",
		"GOWORK=off", "GOFLAGS=" + flags, "GOMODCACHE=" + f.env.GOMODCACHE, "GO111MODULE=on",
	}
}
