//go:build linux

package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

// Files of a node's directory.
const (
	ledgerFile     = "ledger.json"
	factsFile      = "node.json"
	consoleFile    = "console.log"
	knownHostsFile = "known_hosts"
)

// ErrNotRunning means that the node does not exist, did not come up completely, or
// died.
var ErrNotRunning = errors.New("no such node is running")

// Node is a running node. Its methods may be called by several goroutines.
type Node struct {
	dir  string
	logf func(format string, args ...any) // reports progress; may be nil

	mu    sync.Mutex // guards facts, which SwapContainerd changes
	facts facts
}

// facts is what another process needs to know about a node; it is stored in a file.
type facts struct {
	Name       string            `json:"name"`
	Owner      int               `json:"owner"`
	Network    int               `json:"network"`
	Cache      string            `json:"cache"`
	Kubelet    bool              `json:"kubelet"`
	Containerd string            `json:"containerd"`
	BuildRoots map[string]string `json:"buildRoots"`
	Leader     int               `json:"leader"`      // the node's first process, by its pid on this machine
	Start      uint64            `json:"leaderStart"` // its start time, see proc_pid_stat(5)
	Ready      time.Time         `json:"ready"`
}

// Find returns a running node in the default state directory.
func Find(name string) (*Node, error) { return FindIn(DefaultState, name) }

// FindIn returns a running node in a state directory.
func FindIn(state, name string) (*Node, error) {
	n := &Node{dir: filepath.Join(state, name)}
	raw, err := os.ReadFile(filepath.Join(n.dir, factsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("node %s: %w", name, ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &n.facts); err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	if n.facts.Ready.IsZero() || !ledger.Alive(n.facts.Leader, n.facts.Start) {
		return nil, fmt.Errorf("node %s: %w", name, ErrNotRunning)
	}
	return n, nil
}

// Names lists the nodes in a state directory, running or not.
func Names(state string) ([]string, error) {
	entries, err := os.ReadDir(state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// save writes the facts for Find.
func (n *Node) save() error {
	raw, err := json.MarshalIndent(n.facts, "", "\t")
	if err != nil {
		return err
	}
	next := filepath.Join(n.dir, "."+factsFile)
	if err := os.WriteFile(next, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(n.dir, factsFile))
}

// Name is the node's host name, and the name of its minikube profile.
func (n *Node) Name() string { return n.facts.Name }

// Dir is the node's directory on this machine.
func (n *Node) Dir() string { return n.dir }

// IP is the node's address on its own network.
func (n *Node) IP() string { return n.nodeNetwork().nodeIP().String() }

// SSHAddr is the address of the node's sshd, as host:port.
func (n *Node) SSHAddr() string { return net.JoinHostPort(n.IP(), "22") }

// User is the user for SSH logins, who has passwordless sudo.
func (n *Node) User() string { return "docker" }

// Owner is the uid of the user who can read KeyFile and MinikubeHome.
func (n *Node) Owner() int { return n.facts.Owner }

// MinikubeHome is a value for the environment variable MINIKUBE_HOME.
func (n *Node) MinikubeHome() string { return filepath.Join(n.dir, "home", ".minikube") }

// KeyFile is the file of the private key for logging in as User.
func (n *Node) KeyFile() string {
	return filepath.Join(n.MinikubeHome(), "machines", n.Name(), "id_rsa")
}

// KnownHostsFile is a file with KnownHostsLine that everybody can read.
func (n *Node) KnownHostsFile() string { return filepath.Join(n.dir, knownHostsFile) }

// KnownHostsLine returns the node's host keys in the format of known_hosts, one a line.
func (n *Node) KnownHostsLine() string {
	raw, err := os.ReadFile(n.KnownHostsFile())
	if err != nil {
		return ""
	}
	return string(raw)
}

// SSHCommand returns an ssh command line that logs in to the node.
func (n *Node) SSHCommand() []string {
	return []string{
		"ssh", "-i", n.KeyFile(), "-o", "UserKnownHostsFile=" + n.KnownHostsFile(),
		"-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", n.User() + "@" + n.IP(),
	}
}

// RootFS is a path on this machine to the node's root directory as the node sees it,
// including mounts. It is valid while the node runs.
func (n *Node) RootFS() string { return fmt.Sprintf("/proc/%d/root", n.facts.Leader) }

// Containerd returns the flavour of containerd that is installed.
func (n *Node) Containerd() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.facts.Containerd
}

// BuildRoot returns the directory of containerd's main module when a flavour was built,
// "" for a flavour that this node has not run.
func (n *Node) BuildRoot(flavour string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.facts.BuildRoots[flavour]
}

// Ready is when the node came up.
func (n *Node) Ready() time.Time { return n.facts.Ready }

func (n *Node) nodeNetwork() network { return newNetwork(n.facts.Name, n.facts.Network) }

func (n *Node) cache() *parts.Cache {
	logf := n.logf
	if logf == nil {
		logf = func(string, ...any) {}
	}
	return &parts.Cache{Dir: n.facts.Cache, Logf: logf}
}

// consoleTail returns the end of the node's console output, for an error.
func consoleTail(dir string) string {
	f, err := os.Open(filepath.Join(dir, consoleFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-2000), io.SeekStart)
	}
	raw, _ := io.ReadAll(f)
	return strings.TrimSpace("the node's console ends with:\n" + string(raw))
}
