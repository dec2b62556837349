// Package node resolves --node to a [Node]: where its SSH server listens, which user logs
// in with which keys, and how its host key is checked; or which container it is; and
// whether it counts as local. It reads files, runs ssh and the container engine's command
// where only they have the answer, and opens no connection.
package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// HostKeyPolicy is how a node's host key is checked.
type HostKeyPolicy int

const (
	// KnownHosts accepts only keys in the user's known_hosts files.
	KnownHosts HostKeyPolicy = iota
	// Pin stores the key on first use and accepts no other afterwards. It is for
	// minikube's and lima's nodes, whose keys no user has ever seen.
	Pin
	// Repin stores the key on first use and later accepts another one with a
	// warning. It is for such nodes on addresses that only this machine reaches: an
	// ISO generates new keys at every boot, and those in the docker driver's image
	// are public anyway.
	Repin
)

// Node is a resolved --node.
type Node struct {
	Name       string   // for messages: "minikube", "ssh://docker@192.168.49.2:22"
	Addrs      []string // host:port, tried in order
	User       string
	Identities []string // private key files

	// UserKeys means that the user named no key: the SSH agent's keys may be offered
	// first, and Identities are the default files, which may be missing or locked.
	UserKeys bool

	// Further settings from ssh's configuration.
	FilesOnly    bool     // offer only those of the agent's keys that are in Identities
	Certificates []string // certificate files for the keys
	AgentSocket  string   // replaces $SSH_AUTH_SOCK; "none" is no agent
	HostKeyAlias string   // the name in the known_hosts files
	KnownHosts   []string // files that replace the default ones
	Proxy        []string // a command whose standard input and output reach the node

	HostKeys HostKeyPolicy
	Local    bool   // may be used without --allow-non-local
	Why      string // why it counts as local or not

	// Container, unless nil, has one more address, which is tried when none of
	// Addrs answers.
	Container *Container

	// Exec, unless nil, is the container in which its engine runs commands, instead
	// of SSH. Such a node has no address, user or key.
	Exec *Container

	// Remedy is the hint to show if no address answers; it may be empty.
	Remedy string
}

// Options are the arguments of Resolve, which does not read the environment itself.
type Options struct {
	Spec         string // --node; empty is minikube
	Identity     string // --identity
	MinikubeHome string // $MINIKUBE_HOME; empty is Home/.minikube
	LimaHome     string // $LIMA_HOME; empty is Home/.lima
	Home         string // the user's home directory
	User         string // who logs in if the spec names no user
	GOOS         string // the host's, runtime.GOOS
	SSH          string // path of the ssh command; "" if not installed
	Shell        string // $SHELL, which runs a ProxyCommand; empty is /bin/sh

	LocalNodes []string // hosts that count as local: names or addresses

	DockerHost    string // $DOCKER_HOST
	ContainerHost string // $CONTAINER_HOST, podman's

	// Running reports whether a node answers, to choose among several profiles. If
	// nil, the files alone decide. It may be called from several goroutines.
	Running func(*Node) bool
}

// Resolve returns the node that o.Spec names. Its error is diag.Usage for a
// malformed spec, diag.NodeUnknown for one that names no node, and
// diag.NodeUnreachable for a node that is known not to run.
func Resolve(o Options) (*Node, error) {
	n, err := resolveSpec(o)
	if err == nil {
		n.markNamedLocal(o.LocalNodes)
	}
	return n, err
}

func resolveSpec(o Options) (*Node, error) {
	scheme, rest, _ := strings.Cut(o.Spec, ":")
	switch {
	case o.Spec == "" || o.Spec == "minikube":
		return minikubeHome(o).resolveNode("", o)
	case scheme == "minikube" && rest != "":
		return minikubeHome(o).resolveNode(rest, o)
	case strings.HasPrefix(o.Spec, "ssh://"):
		return resolveSSH(o)
	case scheme == "ssh" && rest != "":
		return resolveAlias(rest, o)
	case scheme == "lima" && rest != "":
		return resolveLima(rest, o)
	case (scheme == "docker" || scheme == "podman") && rest != "":
		return resolveContainer(scheme, rest, o)
	}
	const forms = "minikube[:PROFILE[/NODE]], ssh:HOST, ssh://[USER@]HOST[:PORT], docker:CONTAINER, podman:CONTAINER or lima:INSTANCE"
	return nil, diag.Errorf(diag.Usage, "--node %q is not one of %s", o.Spec, forms).WithHint("write the node as %s", forms)
}

// CheckLocal returns a diag.NodeNotLocal error for a node that may be shared or in
// production, unless allow (--allow-non-local) is set.
func CheckLocal(n *Node, allow bool) error {
	if n.Local || allow {
		return nil
	}
	return diag.Errorf(diag.NodeNotLocal, "%s is not a local node: %s", n.Name, n.Why)
}

// isLoopback reports whether host, a name or an address, is this machine. Names are
// not resolved: a DNS server must not decide what counts as local.
func isLoopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost"
}

// expandHome replaces a leading ~/ as a shell does, for paths from a file or from
// --identity=~/key, which the shell does not expand.
func expandHome(path, home string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		return filepath.Join(home, rest)
	}
	return path
}

// defaultIdentities returns those of OpenSSH's default key files that exist.
func defaultIdentities(home string) []string {
	var found []string
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		path := filepath.Join(home, ".ssh", name)
		if _, err := os.Stat(path); err == nil {
			found = append(found, path)
		}
	}
	return found
}
