package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// maxConfig bounds what is read of a file of minikube's; real ones have a few
// kilobytes.
const maxConfig = 1 << 20

const profileName = `^[A-Za-z0-9][A-Za-z0-9._-]*$`

// home is minikube's directory, usually ~/.minikube.
type home string

// minikubeHome follows minikube's pkg/minikube/localpath, MiniPath: the
// variable names the directory or the one that contains it.
func minikubeHome(o Options) home {
	switch {
	case o.MinikubeHome == "":
		return home(filepath.Join(o.Home, ".minikube"))
	case filepath.Base(o.MinikubeHome) == ".minikube":
		return home(o.MinikubeHome)
	}
	return home(filepath.Join(o.MinikubeHome, ".minikube"))
}

// clusterConfig is the part of a profile's config.json that we need
// (minikube's pkg/minikube/config, ClusterConfig).
type clusterConfig struct {
	Name   string
	Driver string
	Nodes  []clusterNode
}

type clusterNode struct {
	Name         string
	IP           string
	ControlPlane bool
}

// machine returns the name of n's machine: the profile's for the first node,
// PROFILE-NODE for the others (minikube's pkg/minikube/config, MachineName).
func (c *clusterConfig) machine(n clusterNode) string {
	if n.Name == "" || len(c.Nodes) == 1 {
		return c.Name
	}
	return c.Name + "-" + n.Name
}

// primary returns the first control-plane node, or the first node.
func (c *clusterConfig) primary() (clusterNode, bool) {
	for _, n := range c.Nodes {
		if n.ControlPlane {
			return n, true
		}
	}
	if len(c.Nodes) > 0 {
		return c.Nodes[0], true
	}
	return clusterNode{}, false
}

// resolve returns the node of the profile or machine called name; empty is the
// profile that the minikube command would take, or the only one.
func (h home) resolve(name string, o Options) (*Node, error) {
	if name == "" {
		var err error
		if name, err = h.defaultProfile(); err != nil {
			return nil, err
		}
	} else if !regexp.MustCompile(profileName).MatchString(name) {
		return nil, diag.Errorf(diag.Usage, "--node minikube:%s: %q is no name of a minikube profile", name, name)
	}
	c, n, err := h.find(name)
	if err != nil {
		return nil, err
	}
	if c.Driver != "docker" || o.GOOS != "linux" {
		return nil, otherDriver(c, c.machine(n), o)
	}
	addr, err := netip.ParseAddr(n.IP)
	if err != nil {
		return nil, diag.Errorf(diag.NodeUnknown, "minikube's profile %s has no address: Nodes[].IP is %q in %s", c.Name, n.IP, h.configFile(c.Name)).
			WithHint("start it with minikube start -p %s", c.Name)
	}
	return h.dockerNode(c, c.machine(n), addr, o), nil
}

// dockerNode describes a container of the docker driver, which Linux reaches by
// its own address.
func (h home) dockerNode(c *clusterConfig, machine string, addr netip.Addr, o Options) *Node {
	identity := filepath.Join(string(h), "machines", machine, "id_rsa")
	if o.Identity != "" {
		identity = expandHome(o.Identity, o.Home)
	}
	node := &Node{
		Name:       machine,
		Addrs:      []string{net.JoinHostPort(addr.String(), "22")},
		User:       "docker",
		Identities: []string{identity},
		HostKeys:   Pin,
		Local:      addr.IsPrivate() || addr.IsLoopback(),
		Why:        fmt.Sprintf("%s is a machine of the minikube profile %s, driver docker", machine, c.Name),
		Remedy: fmt.Sprintf("check that it runs: minikube status -p %s; with Docker Desktop or rootless Docker: --node ssh://docker@%s --identity %s",
			c.Name, forwardedPort(machine), identity),
	}
	if !node.Local {
		node.Why = fmt.Sprintf("minikube's profile %s has the public address %s", c.Name, addr)
	}
	return node
}

// find returns the profile called name and its primary node, or the node whose
// machine is called so.
func (h home) find(name string) (*clusterConfig, clusterNode, error) {
	c, err := h.load(name)
	if err == nil {
		n, ok := c.primary()
		if !ok {
			return nil, n, diag.Errorf(diag.NodeUnknown, "minikube's profile %s has no nodes", name).
				WithHint("start it with minikube start -p %s", name)
		}
		return c, n, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, clusterNode{}, diag.Errorf(diag.NodeUnknown, "minikube's profile %s can't be read: %w", name, err)
	}
	profiles := h.profiles()
	for _, p := range profiles {
		c, err := h.load(p)
		if err != nil {
			continue
		}
		for _, n := range c.Nodes {
			if c.machine(n) == name {
				return c, n, nil
			}
		}
	}
	return nil, clusterNode{}, h.unknown(fmt.Sprintf("minikube has no profile %s", name), profiles)
}

func (h home) unknown(what string, profiles []string) error {
	if len(profiles) == 0 {
		return diag.Errorf(diag.NodeUnknown, "%s: there is none in %s", what, filepath.Join(string(h), "profiles")).
			WithHint("start one with minikube start, set MINIKUBE_HOME, or name another node with --node ssh://USER@HOST")
	}
	list := strings.Join(profiles[:min(len(profiles), 20)], ", ")
	return diag.Errorf(diag.NodeUnknown, "%s; there is: %s", what, list).
		WithHint("choose one with --node minikube:%s", profiles[0])
}

// defaultProfile returns the profile that minikube itself would take (minikube
// profile NAME writes it into config/config.json), else the only one there is.
func (h home) defaultProfile() (string, error) {
	profiles := h.profiles()
	var settings struct {
		Profile string `json:"profile"`
	}
	if err := readJSON(filepath.Join(string(h), "config", "config.json"), &settings); err == nil {
		if slices.Contains(profiles, settings.Profile) {
			return settings.Profile, nil
		}
	}
	switch {
	case len(profiles) == 1:
		return profiles[0], nil
	case slices.Contains(profiles, "minikube"):
		return "minikube", nil
	}
	return "", h.unknown("minikube has no default profile", profiles)
}

// profiles returns the names of the profiles that have a configuration, sorted.
func (h home) profiles() []string {
	entries, err := os.ReadDir(filepath.Join(string(h), "profiles"))
	if err != nil {
		return nil
	}
	valid := regexp.MustCompile(profileName)
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(h.configFile(e.Name())); err == nil && valid.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

func (h home) configFile(profile string) string {
	return filepath.Join(string(h), "profiles", profile, "config.json")
}

// load reads a profile. What it says becomes part of paths and of commands in
// hints, so names that minikube does not make are refused.
func (h home) load(profile string) (*clusterConfig, error) {
	c := &clusterConfig{Name: profile}
	if err := readJSON(h.configFile(profile), c); err != nil {
		return nil, err
	}
	c.Name = profile
	valid := regexp.MustCompile(profileName)
	for _, n := range c.Nodes {
		if n.Name != "" && !valid.MatchString(n.Name) {
			return nil, fmt.Errorf("%s: %q is no name of a node", h.configFile(profile), n.Name)
		}
	}
	return c, nil
}

func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return err
	}
	if len(data) > maxConfig {
		return fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// otherDriver says how to reach a node that we don't resolve ourselves.
func otherDriver(c *clusterConfig, machine string, o Options) error {
	key := fmt.Sprintf("$(minikube -p %s ssh-key)", c.Name)
	if c.Driver == "docker" {
		return diag.Errorf(diag.NodeUnknown, "minikube's profile %s uses the driver docker, whose nodes have no address that %s can reach", c.Name, o.GOOS).
			WithHint("use the forwarded port: --node ssh://docker@%s --identity %s", forwardedPort(machine), key)
	}
	err := diag.Errorf(diag.NodeUnknown, "minikube's profile %s uses the driver %q; only docker on Linux is looked up here", c.Name, c.Driver)
	switch c.Driver {
	case "none":
		return err.WithHint("that node is this machine: --node ssh://USER@127.0.0.1")
	case "ssh":
		return err.WithHint("name the host itself: --node ssh://USER@HOST --identity FILE --allow-non-local")
	}
	return err.WithHint("--node ssh://docker@$(minikube -p %s ip) --identity %s --allow-non-local", c.Name, key)
}

// forwardedPort is shell text for the loopback address that docker forwards to
// a machine's SSH port.
func forwardedPort(machine string) string { return "$(docker port " + machine + " 22)" }
