package node

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// machine is the part of a machine's config.json that we need. The driver that
// created the machine wrote it (minikube's pkg/libmachine/host, Host;
// pkg/libmachine/drivers, BaseDriver).
type machine struct {
	Driver struct {
		IPAddress  string
		SSHUser    string
		SSHPort    int
		SSHKeyPath string
		Network    string // qemu2 only
	}
}

func (h home) machineDir(name string) string {
	return filepath.Join(string(h), "machines", name)
}

// machineNode returns the node that n's driver describes (minikube's pkg/drivers,
// GetSSHHostname and GetSSHPort of each).
func (h home) machineNode(c *clusterConfig, n clusterNode, o Options) (*Node, error) {
	name := c.machineName(n)
	var m machine
	file := filepath.Join(h.machineDir(name), "config.json")
	if err := readJSON(file, &m); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, diag.Errorf(diag.NodeUnknown, "cannot read minikube's machine %s: %w", name, err)
	}
	d := m.Driver
	node := &Node{
		Name:       name,
		User:       d.SSHUser,
		Identities: []string{h.identity(name, d.SSHKeyPath, o)},
		HostKeys:   Repin,
		Local:      true,
		Why:        fmt.Sprintf("%s is a machine of the minikube profile %s, driver %s", name, c.Name, c.Driver),
		Remedy:     fmt.Sprintf("check that it is running: minikube status -p %s", c.Name),
	}
	if node.User == "" {
		node.User = "docker"
	}
	host := d.IPAddress
	switch c.Driver {
	case "docker", "podman":
		return h.completeContainerNode(node, c, n, o)
	case "none", "native":
		return nil, diag.Errorf(diag.NodeUnknown, "minikube's profile %s uses the driver none: its node is this machine", c.Name).
			WithHint("run sshd on this machine and use --node ssh://%s@127.0.0.1", cmp.Or(o.User, "USER"))
	case "virtualbox":
		host = "127.0.0.1"
	case "qemu2", "qemu":
		if d.Network == "builtin" || d.Network == "user" { // pkg/network, IsBuiltinQEMU
			host = "127.0.0.1"
		}
	case "ssh", "generic":
		node.HostKeys = KnownHosts
	}
	if host == "" {
		host = n.IP
	}
	if err := node.setAddr(host, d.SSHPort, c, file); err != nil {
		return nil, err
	}
	if c.Driver == "ssh" || c.Driver == "generic" {
		node.Local = node.Local && isLoopback(host)
		node.Why = fmt.Sprintf("minikube's profile %s uses the driver ssh, whose machine %s may be shared", c.Name, host)
	}
	return node, nil
}

// setAddr adds the node's address, which was read from file.
func (n *Node) setAddr(host string, port int, c *clusterConfig, file string) error {
	addr, err := netip.ParseAddr(host)
	if err != nil || port < 0 || port > 65535 {
		return diag.Errorf(diag.NodeUnknown, "minikube's profile %s has no address: %s has %q, port %d", c.Name, file, host, port).
			WithHint("start it with minikube start -p %s", c.Name)
	}
	if port == 0 {
		port = 22
	}
	n.Addrs = append(n.Addrs, net.JoinHostPort(addr.String(), strconv.Itoa(port)))
	n.distrustPublic(addr, c)
	return nil
}

// distrustPublic makes a node with a public address non-local, and does not let its
// host key change without an error.
func (n *Node) distrustPublic(addr netip.Addr, c *clusterConfig) {
	if addr = addr.Unmap(); addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() {
		return
	}
	n.Local = false
	if n.HostKeys == Repin {
		n.HostKeys = Pin
	}
	n.Why = fmt.Sprintf("minikube's profile %s has the public address %s", c.Name, addr)
}

func (h home) identity(machine, keyPath string, o Options) string {
	switch {
	case o.Identity != "":
		return expandHome(o.Identity, o.Home)
	case keyPath != "":
		return keyPath
	}
	return filepath.Join(h.machineDir(machine), "id_rsa")
}

// completeContainerNode completes a node of the docker or podman driver. It is a
// container, which a Linux host reaches at the container's own address, and other
// hosts through a port that the engine forwards (pkg/drivers/kic,
// Driver.GetSSHPort).
func (h home) completeContainerNode(node *Node, c *clusterConfig, n clusterNode, o Options) (*Node, error) {
	engineURL := o.DockerHost
	if c.Driver == "podman" {
		engineURL = o.ContainerHost
	}
	node.User = "docker"
	node.Container = &Container{Engine: c.Driver, Name: node.Name, Host: "127.0.0.1"}
	if u, err := url.Parse(engineURL); err == nil && u.Host != "" { // pkg/drivers/kic/oci, DaemonHost
		return node, node.setEngineHost(u.Hostname(), c)
	}
	if o.GOOS != "linux" {
		return node, nil
	}
	if addr, err := netip.ParseAddr(n.IP); err == nil {
		node.Addrs = []string{net.JoinHostPort(addr.String(), "22")}
		node.distrustPublic(addr, c)
	}
	return node, nil
}

// setEngineHost sets the host of the node's engine, which makes the node non-local
// unless that is this machine.
func (n *Node) setEngineHost(host string, c *clusterConfig) error {
	name, err := parseHost(host, false)
	if addr, addrErr := netip.ParseAddr(host); addrErr == nil {
		name, err = addr.String(), nil
	}
	if err != nil {
		return diag.Errorf(diag.NodeUnknown, "find the %s engine of minikube's profile %s: %w", c.Driver, c.Name, err).
			WithHint("correct DOCKER_HOST or CONTAINER_HOST")
	}
	n.Container.Host = name
	if isLoopback(name) {
		return nil
	}
	n.HostKeys, n.Local = Pin, false
	n.Why = fmt.Sprintf("the %s engine of minikube's profile %s is on %s", c.Driver, c.Name, name)
	return nil
}
