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

// containerName is what engines let a container be called (moby's
// daemon/names/names.go, RestrictedNameChars; podman's libpod/define/config.go,
// NameRegex). It begins with no dash, so that it is never an option.
const containerName = `^[A-Za-z0-9][A-Za-z0-9_.-]*$`

// resolveContainer resolves docker:CONTAINER and podman:CONTAINER.
func resolveContainer(engine, name string, o Options) (*Node, error) {
	if !regexp.MustCompile(containerName).MatchString(name) || len(name) > 253 {
		return nil, diag.Errorf(diag.Usage, "--node %s:%.80s: that is no name of a container", engine, name).
			WithHint("write --node %s:CONTAINER with a name that %s ps shows", engine, engine)
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
		n.Why = fmt.Sprintf("where its %s engine is can't be read from %.80q", engine, endpoint)
	} else if u.Host != "" && !isLoopback(u.Hostname()) {
		n.Local, n.Exec.Host = false, u.Hostname()
		n.Why = fmt.Sprintf("its %s engine is on %s", engine, u.Hostname())
	}
	return n, nil
}

// dockerEndpoint returns where docker's own configuration says its engine is
// (docker's cli/command/cli.go, resolveContextName), "" if docker does not say:
// one that knows no contexts has its engine here, and one that is not there has
// none.
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
