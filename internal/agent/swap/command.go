//go:build linux

package swap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/idle"
)

// AgentDir returns the agent's directory: it holds a directory with this program for
// each of its builds (host/remote, uploadScript), and beside them the agent's files.
func AgentDir() (string, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", err
	}
	return filepath.Dir(filepath.Dir(exe)), nil
}

// Store returns the directory of the originals for an agent in agentDir: in that
// directory, or in another of the directories an agent may be in (dirs), if there are
// records. Another release may have been uploaded to another directory.
func Store(agentDir string, dirs []string) string {
	const name = "swap"
	own := filepath.Join(agentDir, name)
	if !slices.Contains(dirs, agentDir) || hasRecords(own) {
		return own
	}
	for _, dir := range dirs {
		if other := filepath.Join(dir, name); hasRecords(other) {
			return other
		}
	}
	return own
}

func hasRecords(dir string) bool {
	if checkOwner(dir) != nil {
		return false
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", recordName))
	return err == nil && len(found) > 0
}

// removableDirs returns the directories that a restore removes: those of the agent and
// of the store, if a host has uploaded this program (host/remote, uploadScript).
func removableDirs(agentDir, store string) []string {
	asAgent := regexp.MustCompile(`/[0-9a-f]{64}/dapbridge( \(deleted\))?$`)
	if exe, err := os.Readlink("/proc/self/exe"); err != nil || !asAgent.MatchString(exe) {
		return nil
	}
	return slices.Compact([]string{agentDir, filepath.Dir(store)})
}

// Command is an invocation of `agent swap`.
type Command struct {
	Name        string // one of the commands of package api
	Request     string // its request, in JSON
	IdleTimeout time.Duration
	AgentDir    string // see AgentDir
	Store       string // see Store
	Sessions    Sessions
	In          io.Reader // a deploy's build
	Out         io.Writer // for one [api.SwapMessage] a line
}

// RunCommand runs a command and writes its messages, the last of which holds the
// result or the failure. It returns an error only if that could not be written.
func RunCommand(ctx context.Context, c Command) error {
	var mu sync.Mutex
	lines := json.NewEncoder(c.Out)
	write := func(m api.SwapMessage) error {
		mu.Lock()
		defer mu.Unlock()
		return lines.Encode(m)
	}
	r := &Runner{
		Dir: c.Store, Remove: removableDirs(c.AgentDir, c.Store), Sessions: c.Sessions, IdleTimeout: c.IdleTimeout,
		Report: func(p api.SwapProgress) {
			_ = write(api.SwapMessage{Progress: &p}) // the command completes even if the host has gone
		},
	}
	stop := idle.StartHeartbeat(c.IdleTimeout, func() { _ = write(api.SwapMessage{}) })
	result, err := r.run(ctx, c)
	stop()
	var m api.SwapMessage
	if err == nil {
		m.Result, err = json.Marshal(result)
	}
	if err != nil {
		m = api.SwapMessage{Failure: newFailure(err)}
	}
	return write(m)
}

// run decodes the request, runs the command and returns its result.
func (r *Runner) run(ctx context.Context, c Command) (any, error) {
	request := []byte(c.Request)
	switch c.Name {
	case api.SwapInspect:
		var q api.InspectRequest
		if err := json.Unmarshal(request, &q); err != nil {
			return nil, fmt.Errorf("decode the request: %w", err)
		}
		return r.Inspect(ctx, q)
	case api.SwapDeploy:
		var q api.DeployRequest
		if err := json.Unmarshal(request, &q); err != nil {
			return nil, fmt.Errorf("decode the request: %w", err)
		}
		return r.Deploy(ctx, q, c.In)
	case api.SwapRestore:
		var q api.RestoreRequest
		if err := json.Unmarshal(request, &q); err != nil {
			return nil, fmt.Errorf("decode the request: %w", err)
		}
		return r.Restore(ctx, q)
	}
	return nil, fmt.Errorf("unknown command %q", c.Name)
}

// newFailure describes an error to the host, with the code and the hint of the
// [diag.Error] that it wraps.
func newFailure(err error) *api.SwapFailure {
	f := &api.SwapFailure{}
	var deploy *api.DeployFailure
	if errors.As(err, &deploy) {
		f.Journal = deploy.Journal
	}
	if !errors.As(err, &f.Error) {
		f.Error = diag.Errorf(diag.Internal, "%w", err)
	}
	if f.Error.Summary != err.Error() { // it is wrapped
		f.Error = &diag.Error{Code: f.Error.Code, Hint: f.Error.Hint, Summary: err.Error()}
	}
	return f
}
