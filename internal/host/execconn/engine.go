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

// askTimeout bounds how long the engine may take to say what it knows.
const askTimeout = 10 * time.Second

// engine is a container and the command of its engine.
type engine struct{ node.Container }

// exec returns the command line that runs argv in the container as root. The
// container's name begins with no dash ([node.Resolve]).
func (e engine) exec(argv []string) []string {
	return append([]string{e.Engine, "exec", "-i", "-u", "0", e.Name}, argv...)
}

// running returns nil if commands can run in the container.
func (e engine) running(ctx context.Context) error {
	status, err := e.ask(ctx, "container", "inspect", "--format", "{{.State.Status}}", "--", e.Name)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return e.unusable(ctx, err)
	case status == "running":
		return nil
	case status == "paused":
		return e.still("is paused", "unpause")
	}
	return e.still("does not run (it is "+diag.Escape(status)+")", "start")
}

// still is the error for a container that runs no commands until the engine's
// verb is applied to it.
func (e engine) still(how, verb string) *diag.Error {
	return diag.Errorf(diag.NodeUnreachable, "the container %s %s", e.Name, how).
		WithHint("run: %s %s %s", e.Engine, verb, e.Name)
}

// ask runs the engine's command and returns what it writes, less white space.
func (e engine) ask(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.Engine, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return strings.TrimSpace(string(out)), err
}

// unusable says why the engine did not tell of the container.
func (e engine) unusable(ctx context.Context, err error) error {
	var failed *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return diag.Errorf(diag.NodeUnreachable, "there is no command %s on this machine", e.Engine).
			WithHint("install %s's command line client, or reach the node by SSH: --node ssh:HOST", e.Engine)
	case errors.Is(err, context.DeadlineExceeded):
		return diag.Errorf(diag.NodeUnreachable, "%s did not answer within %v", e.Engine, askTimeout).
			WithHint("see whether %s ps works", e.Engine)
	case !errors.As(err, &failed):
		return diag.Errorf(diag.NodeUnreachable, "%s can't be run: %w", e.Engine, err).
			WithHint("see whether %s ps works", e.Engine)
	}
	known := e.explain(string(failed.Stderr))
	switch {
	case known == nil:
		return diag.Errorf(diag.NodeUnreachable, "%s does not tell of the container %s: %s", e.Engine, e.Name, remote.OneLine(failed.Stderr)).
			WithHint("see what %s container inspect %s says", e.Engine, e.Name)
	case known.Code == diag.NodeUnknown:
		return known.WithHint("%s", e.others(ctx))
	}
	return known
}

// others names the containers that run, as a remedy.
func (e engine) others(ctx context.Context) string {
	names, err := e.ask(ctx, "ps", "--format", "{{.Names}}")
	switch {
	case err != nil:
		return "see the containers that run: " + e.Engine + " ps"
	case names == "":
		return e.Engine + " runs no container: start the cluster"
	}
	list := strings.Fields(names)
	slices.Sort(list)
	const most = 8
	if len(list) > most {
		list = append(list[:most], "…")
	}
	return "these run: " + diag.Escape(strings.Join(list, ", "))
}

// explain says what an engine's message means, nil if that is not known. The
// words are those of docker's client and daemon and of podman (moby's
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
			WithHint("see the containers that run: %s ps", e.Engine)
	case has("permission denied while trying to connect"):
		return diag.Errorf(diag.NodeUnreachable, "you may not use %s's socket: %s", e.Engine, remote.OneLine([]byte(text))).
			WithHint("join the group of the socket (sudo usermod -aG docker $USER, then log in again), or use rootless %s", e.Engine)
	case has("cannot connect to the docker daemon", "failed to connect to the docker api", "cannot connect to podman", "unable to connect to podman"):
		return diag.Errorf(diag.NodeUnreachable, "%s's daemon does not answer: %s", e.Engine, remote.OneLine([]byte(text))).
			WithHint("start it, and see whether %s ps works", e.Engine)
	case has("is paused, unpause"):
		return e.still("is paused", "unpause")
	case has("is not running", "container state improper"):
		return e.still("does not run", "start")
	case has("executable file not found"):
		return diag.Errorf(diag.NodePlatform, "the container %s has no shell: %s", e.Name, remote.OneLine([]byte(text)))
	}
	return nil
}
