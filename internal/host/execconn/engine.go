package execconn

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// queryTimeout bounds a query to the engine.
const queryTimeout = 10 * time.Second

// engine is a container and the command of its engine.
type engine struct{ node.Container }

// exec returns the command line that runs argv in the container as root. The
// container's name does not begin with a dash ([node.Resolve]).
func (e engine) exec(argv []string) []string {
	return append([]string{e.Engine, "exec", "-i", "-u", "0", e.Name}, argv...)
}

// checkRunning returns nil if commands can run in the container.
func (e engine) checkRunning(ctx context.Context) error {
	status, err := e.query(ctx, "container", "inspect", "--format", "{{.State.Status}}", "--", e.Name)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return e.inspectError(ctx, err)
	case status == "running":
		return nil
	case status == "paused":
		return e.stoppedError("is paused", "unpause")
	}
	return e.stoppedError("is not running (status: "+diag.Escape(status)+")", "start")
}

// stoppedError returns the error for a container that cannot run commands in its state
// until the engine's verb is applied to it.
func (e engine) stoppedError(state, verb string) *diag.Error {
	return diag.Errorf(diag.NodeUnreachable, "the container %s %s", e.Name, state).
		WithHint("run: %s %s %s", e.Engine, verb, e.Name)
}

// query runs the engine's command and returns its output without surrounding white space.
func (e engine) query(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.Engine, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return strings.TrimSpace(string(out)), err
}

// inspectError returns the error for a container that could not be inspected.
func (e engine) inspectError(ctx context.Context, err error) error {
	var failed *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return diag.Errorf(diag.NodeUnreachable, "the command %s was not found on this machine", e.Engine).
			WithHint("install %s's command line client, or reach the node by SSH: --node ssh:HOST", e.Engine)
	case errors.Is(err, context.DeadlineExceeded):
		return diag.Errorf(diag.NodeUnreachable, "%s did not answer within %v", e.Engine, queryTimeout).
			WithHint("check whether %s ps works", e.Engine)
	case !errors.As(err, &failed):
		return diag.Errorf(diag.NodeUnreachable, "cannot run %s: %w", e.Engine, err).
			WithHint("check whether %s ps works", e.Engine)
	}
	known := e.explain(string(failed.Stderr))
	switch {
	case known == nil:
		return diag.Errorf(diag.NodeUnreachable, "%s cannot inspect the container %s: %s", e.Engine, e.Name, remote.OneLine(failed.Stderr)).
			WithHint("try it yourself: %s container inspect %s", e.Engine, e.Name)
	case known.Code == diag.NodeUnknown:
		return known.WithHint("%s", e.runningHint(ctx))
	}
	return known
}

// runningHint returns a hint that lists the running containers.
func (e engine) runningHint(ctx context.Context) string {
	names, err := e.query(ctx, "ps", "--format", "{{.Names}}")
	switch {
	case err != nil:
		return "list the running containers: " + e.Engine + " ps"
	case names == "":
		return "no containers are running: start the cluster"
	}
	list := strings.Fields(names)
	slices.Sort(list)
	const most = 8
	if len(list) > most {
		list = append(list[:most], "…")
	}
	return "use one of the running containers: " + diag.Escape(strings.Join(list, ", "))
}

// explain returns the error for an engine's message, or nil if the message is not
// recognised. The texts are those of docker's client and daemon and of podman (moby's
// client/errors.go, client/request.go and daemon/exec.go, podman's
// libpod/define/errors.go and libpod/container_exec.go).
func (e engine) explain(text string) *diag.Error {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool {
			return strings.Contains(strings.ToLower(text), part)
		})
	}
	switch {
	case has("no such container", "no container with name or id"):
		return diag.Errorf(diag.NodeUnknown, "%s has no container %s", e.Engine, e.Name).
			WithHint("list the running containers: %s ps", e.Engine)
	case has("permission denied while trying to connect"):
		return diag.Errorf(diag.NodeUnreachable, "you are not allowed to use %s's socket: %s", e.Engine, remote.OneLine([]byte(text))).
			WithHint("join the group of the socket (sudo usermod -aG docker $USER, then log in again), or use rootless %s", e.Engine)
	case has("cannot connect to the docker daemon", "failed to connect to the docker api", "cannot connect to podman", "unable to connect to podman"):
		return diag.Errorf(diag.NodeUnreachable, "%s's daemon does not answer: %s", e.Engine, remote.OneLine([]byte(text))).
			WithHint("start it, and check whether %s ps works", e.Engine)
	case has("is paused, unpause"):
		return e.stoppedError("is paused", "unpause")
	case has("is not running", "container state improper"):
		return e.stoppedError("is not running", "start")
	case has("executable file not found"):
		return diag.Errorf(diag.NodePlatform, "the container %s has no shell: %s", e.Name, remote.OneLine([]byte(text)))
	}
	return nil
}
