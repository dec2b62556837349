package node

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// containerName matches the names that engines accept (moby's
// daemon/names/names.go, RestrictedNameChars; podman's libpod/define/config.go,
// NameRegex). None begins with a dash, so none is taken for an option.
const containerName = `^[A-Za-z0-9][A-Za-z0-9_.-]*$`

// resolveContainer resolves docker:CONTAINER and podman:CONTAINER.
func resolveContainer(engine, name string, o Options) (*Node, error) {
	if !regexp.MustCompile(containerName).MatchString(name) || len(name) > 253 {
		return nil, diag.Errorf(diag.Usage, "--node %s:%.80s: not a valid container name", engine, name).
			WithHint("use --node %s:CONTAINER with a name from %s ps", engine, engine)
	}
	n := &Node{
		Name:  engine + ":" + name,
		Exec:  &Container{Engine: engine, Name: name},
		Local: true,
		Why:   engine + " runs on this machine",
	}
	endpoint := o.ContainerHost
	if engine == "docker" {
		if endpoint = o.DockerHost; endpoint == "" {
			endpoint = dockerEndpoint()
		}
	}
	if endpoint == "" {
		return n, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		n.Local = false
		n.Why = fmt.Sprintf("cannot tell from %.80q where its %s engine is", endpoint, engine)
	} else if u.Host != "" && !isLoopback(u.Hostname()) {
		n.Local, n.Exec.Host = false, u.Hostname()
		n.Why = fmt.Sprintf("its %s engine is on %s", engine, u.Hostname())
	}
	return n, nil
}

// dockerEndpoint returns the address of the engine in docker's own configuration
// (docker's cli/command/cli.go, resolveContextName), or "" if docker does not
// report one: a docker without contexts uses the engine on this machine, and a
// missing docker has none.
func dockerEndpoint() string {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
