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

// Container is a node that is a container: its engine forwards a port of the
// engine's host to the node's SSH server.
type Container struct {
	Engine string // the command, docker or podman
	Name   string
	Host   string // where the engine forwards from
}

// engineTimeout bounds how long the engine's command may take.
const engineTimeout = 10 * time.Second

// SSHAddr asks the engine's command for the address, host:port, that it forwards
// to the container's SSH server (minikube's pkg/drivers/kic/oci, ForwardedPort).
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
		return "", fmt.Errorf("%s container inspect %s: %.40q is no port", c.Engine, c.Name, port)
	}
	return net.JoinHostPort(c.Host, port), nil
}

// commandError adds the first line of what a command said to its error.
func commandError(err error) error {
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		if line, _, _ := strings.Cut(strings.TrimSpace(string(failed.Stderr)), "\n"); line != "" {
			return errors.New(line)
		}
	}
	return err
}
