package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// maxConfig bounds how much of a configuration file is read. Real ones have a few
// kilobytes.
const maxConfig = 1 << 20

const profileName = `^[A-Za-z0-9][A-Za-z0-9._-]*$`

// home is minikube's directory, usually ~/.minikube.
type home string

// minikubeHome follows minikube's pkg/minikube/localpath, MiniPath: MINIKUBE_HOME
// names the directory itself or its parent.
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

// machineName returns the name of n's machine: the profile's for the first node,
// PROFILE-NODE for the others (minikube's pkg/minikube/config, MachineName).
func (c *clusterConfig) machineName(n clusterNode) string {
	if n.Name == "" || len(c.Nodes) == 1 {
		return c.Name
	}
	return c.Name + "-" + n.Name
}

// findNode returns the node with that name or machine name. The first node may have
// no name of its own.
func (c *clusterConfig) findNode(name string) (clusterNode, error) {
	names := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		if names[i] = n.Name; n.Name == "" {
			names[i] = c.machineName(n)
		}
		if name == names[i] || name == c.machineName(n) {
			return n, nil
		}
	}
	return clusterNode{}, diag.Errorf(diag.NodeUnknown, "minikube's profile %s has no node %s; it has: %s", c.Name, name, strings.Join(names, ", ")).
		WithHint("choose one: --node minikube:%s/NODE", c.Name)
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

// resolveNode returns the node that rest names: PROFILE, PROFILE/NODE or a machine
// name. If rest is empty, it is the default node.
func (h home) resolveNode(rest string, o Options) (*Node, error) {
	if rest == "" {
		return h.defaultNode(o)
	}
	name, node, hasNode := strings.Cut(rest, "/")
	valid := regexp.MustCompile(profileName)
	if !valid.MatchString(name) || hasNode && !valid.MatchString(node) {
		return nil, diag.Errorf(diag.Usage, "--node minikube:%s: %q is not a valid profile or node name", rest, rest)
	}
	c, n, err := h.findProfile(name)
	if err != nil {
		return nil, err
	}
	if hasNode {
		if n, err = c.findNode(node); err != nil {
			return nil, err
		}
	}
	return h.machineNode(c, n, o)
}

// findProfile returns the profile with the given name and its primary node, or else
// the node whose machine has that name, and its profile.
func (h home) findProfile(name string) (*clusterConfig, clusterNode, error) {
	c, err := h.loadProfile(name)
	if err == nil {
		n, ok := c.primary()
		if !ok {
			return nil, n, diag.Errorf(diag.NodeUnknown, "minikube's profile %s has no nodes", name).
				WithHint("start it with minikube start -p %s", name)
		}
		return c, n, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, clusterNode{}, diag.Errorf(diag.NodeUnknown, "cannot read minikube's profile %s: %w", name, err)
	}
	profiles := h.profiles()
	for _, p := range profiles {
		c, err := h.loadProfile(p)
		if err != nil {
			continue
		}
		for _, n := range c.Nodes {
			if c.machineName(n) == name {
				return c, n, nil
			}
		}
	}
	return nil, clusterNode{}, h.unknownProfileError(fmt.Sprintf("minikube has no profile %s", name), profiles)
}

func (h home) unknownProfileError(what string, profiles []string) error {
	if len(profiles) == 0 {
		return diag.Errorf(diag.NodeUnknown, "%s: no profiles in %s", what, filepath.Join(string(h), "profiles")).
			WithHint("create one with minikube start, set MINIKUBE_HOME, or use another node with --node ssh://USER@HOST")
	}
	list := strings.Join(profiles[:min(len(profiles), 20)], ", ")
	return diag.Errorf(diag.NodeUnknown, "%s; the profiles are: %s", what, list).
		WithHint("choose one with --node minikube:%s", profiles[0])
}

// defaultNode returns the primary node of the profile that minikube itself would
// use (minikube profile NAME writes it into config/config.json), else of the only
// profile, else of the only running one, else of the one named minikube.
func (h home) defaultNode(o Options) (*Node, error) {
	profiles := h.profiles()
	var settings struct {
		Profile string `json:"profile"`
	}
	if err := readJSON(filepath.Join(string(h), "config", "config.json"), &settings); err == nil {
		if slices.Contains(profiles, settings.Profile) {
			return h.resolveNode(settings.Profile, o)
		}
	}
	if len(profiles) == 1 {
		return h.resolveNode(profiles[0], o)
	}
	if n := h.onlyRunningNode(profiles, o); n != nil {
		return n, nil
	}
	if slices.Contains(profiles, "minikube") {
		return h.resolveNode("minikube", o)
	}
	return nil, h.unknownProfileError("minikube has no default profile", profiles)
}

// onlyRunningNode returns the primary node that answers, or nil unless exactly one
// profile has one.
func (h home) onlyRunningNode(profiles []string, o Options) *Node {
	if o.Running == nil {
		return nil
	}
	nodes := make([]*Node, len(profiles))
	var wg sync.WaitGroup
	for i, name := range profiles {
		wg.Go(func() {
			if n, err := h.resolveNode(name, o); err == nil && o.Running(n) {
				nodes[i] = n
			}
		})
	}
	wg.Wait()
	nodes = slices.DeleteFunc(nodes, func(n *Node) bool { return n == nil })
	if len(nodes) != 1 {
		return nil
	}
	return nodes[0]
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

// loadProfile reads a profile. Its names become part of paths and of commands in
// hints, so those that minikube would not accept are refused.
func (h home) loadProfile(profile string) (*clusterConfig, error) {
	c := &clusterConfig{Name: profile}
	if err := readJSON(h.configFile(profile), c); err != nil {
		return nil, err
	}
	c.Name = profile
	valid := regexp.MustCompile(profileName)
	for _, n := range c.Nodes {
		if n.Name != "" && !valid.MatchString(n.Name) {
			return nil, fmt.Errorf("%s: %q is not a valid node name", h.configFile(profile), n.Name)
		}
	}
	return c, nil
}

func readJSON(path string, v any) error {
	data, err := readFileLimited(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
