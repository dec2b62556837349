package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Container is a node that runs as a container. Its engine forwards a port of the
// engine's host to the node's SSH server.
type Container struct {
	Engine string // the command, docker or podman
	Name   string
	Host   string // the engine's host
}

// engineTimeout bounds how long the engine's command may take.
const engineTimeout = 10 * time.Second

// SSHAddr runs the engine's command to find the address, host:port, that it
// forwards to the container's SSH server (minikube's pkg/drivers/kic/oci,
// ForwardedPort).
func (c *Container) SSHAddr(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Engine, "container", "inspect", "--format",
		`{{(index (index .NetworkSettings.Ports "22/tcp") 0).HostPort}}`, "--", c.Name)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s container inspect %s: %w", c.Engine, c.Name, commandError(err))
	}
	port := strings.TrimSpace(string(out))
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return "", fmt.Errorf("%s container inspect %s: %.40q is not a port number", c.Engine, c.Name, port)
	}
	return net.JoinHostPort(c.Host, port), nil
}

// commandError returns the first line that a failed command wrote to its standard
// error, and otherwise err.
func commandError(err error) error {
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		if line, _, _ := strings.Cut(strings.TrimSpace(string(failed.Stderr)), "\n"); line != "" {
			return errors.New(line)
		}
	}
	return err
}
