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

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/idle"
)

// AgentDir is the directory in which this program stands as the agent: each
// build of it in one of its own (sshconn, uploadScript), and beside them what it
// keeps.
func AgentDir() (string, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", err
	}
	return filepath.Dir(filepath.Dir(exe)), nil
}

// Store returns where originals are kept by an agent in agentDir: there, or in another
// of the directories that an agent may stand in (dirs), if that has some. The agent of
// another release, or of another day, may have come to stand elsewhere than the last.
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
	if owned(dir) != nil {
		return false
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", recordName))
	return err == nil && len(found) > 0
}

// removable returns the directories that a restore removes: the agent's, if this
// program was put there by a host (internal/host/remote, uploadScript), and the one with
// what is kept.
func removable(agentDir, store string) []string {
	asAgent := regexp.MustCompile(`/[0-9a-f]{64}/dapbridge( \(deleted\))?$`)
	if exe, err := os.Readlink("/proc/self/exe"); err != nil || !asAgent.MatchString(exe) {
		return nil
	}
	return slices.Compact([]string{agentDir, filepath.Dir(store)})
}

// RunCommand runs one of the commands and writes Messages to out, of which the
// last holds the result or the error. It returns an error only if there was
// nobody to tell it to.
func RunCommand(ctx context.Context, agentDir, store, what, request string, sessions Sessions, in io.Reader, out io.Writer) error {
	var mu sync.Mutex
	lines := json.NewEncoder(out)
	tell := func(m api.SwapMessage) error {
		mu.Lock()
		defer mu.Unlock()
		return lines.Encode(m)
	}
	var q api.SwapRequest
	if err := json.Unmarshal([]byte(request), &q); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	r := &Runner{
		Dir: store, Remove: removable(agentDir, store), Sessions: sessions,
		Tell: func(m api.SwapMessage) { _ = tell(m) }, // the host may have gone: what was begun is ended
	}
	stop := idle.StartHeartbeat(q.IdleTimeout, func() { r.Tell(api.SwapMessage{}) })
	m := r.command(ctx, what, q, in)
	stop()
	return tell(m)
}

func (r *Runner) command(ctx context.Context, what string, q api.SwapRequest, in io.Reader) api.SwapMessage {
	m := api.SwapMessage{Done: true}
	var err error
	switch what {
	case api.SwapInspect:
		m.State = &api.SwapState{}
		*m.State, err = r.Inspect(ctx, q)
	case api.SwapDeploy:
		m.Deployed = &api.Deployed{}
		*m.Deployed, err = r.Deploy(ctx, q, in)
	case api.SwapRestore:
		m.Restored, m.Removed, err = r.Restore(ctx, q)
	default:
		err = fmt.Errorf("there is no command %q", what)
	}
	if err == nil {
		return m
	}
	var f *api.DeployFailure
	if errors.As(err, &f) {
		m.Journal = f.Journal
	}
	if !errors.As(err, &m.Error) {
		m.Error = diag.Errorf(diag.Internal, "%w", err)
	}
	if m.Error.Summary != err.Error() { // it was wrapped
		m.Error = &diag.Error{Code: m.Error.Code, Hint: m.Error.Hint, Summary: err.Error()}
	}
	return m
}
