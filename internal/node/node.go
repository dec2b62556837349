// Package node says what --node names: where the node's SSH server listens,
// who logs in with which key, how its host key is checked, or which container
// it is, and whether it counts as local. It reads files, runs the container engine's command where
// that alone knows an address, and opens no connection.
package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// HostKeyPolicy says against what a node's host key is checked.
type HostKeyPolicy int

const (
	// KnownHosts takes only keys that the user's known_hosts files hold.
	KnownHosts HostKeyPolicy = iota
	// Pin stores the key at first sight and takes no other afterwards. It is
	// for minikube's and lima's nodes, whose keys no user has ever seen.
	Pin
	// Repin stores the key at first sight and takes another one later, with a
	// line that says so. It is for such nodes on addresses that only this
	// machine reaches: an ISO makes new keys at every boot, and those of the
	// docker driver's image are public anyway.
	Repin
)

// Node is a resolved --node.
type Node struct {
	Name       string   // for people: "minikube", "ssh://docker@192.168.49.2:22"
	Addrs      []string // host:port, to be tried in order
	User       string
	Identities []string // private key files

	// UserKeys says that nobody named a key: the SSH agent's keys may be
	// offered first, and Identities are guesses that may be locked.
	UserKeys bool

	// What ssh's configuration says besides; the zero value is nothing.
	FilesOnly    bool     // of the agent's keys offer only those of Identities
	Certificates []string // certificate files for the keys
	AgentSocket  string   // in place of $SSH_AUTH_SOCK; "none" is no agent
	HostKeyAlias string   // the name in the known_hosts files
	KnownHosts   []string // files, in place of the usual ones
	Proxy        []string // a command whose standard input and output reach the node

	HostKeys HostKeyPolicy
	Local    bool   // may be used without --allow-non-local
	Why      string // why it counts as local or not

	// Container, if there is one, is asked for one more address when none of
	// Addrs answers.
	Container *Container

	// Exec, if there is one, is where the container's engine runs commands, in
	// place of SSH. Such a node has no address, user or key.
	Exec *Container

	// Remedy is what to try when no address answers, or empty.
	Remedy string
}

// Options are what Resolve goes by. All values of the environment are handed
// in.
type Options struct {
	Spec         string // --node; empty is minikube
	Identity     string // --identity
	MinikubeHome string // $MINIKUBE_HOME; empty is Home/.minikube
	LimaHome     string // $LIMA_HOME; empty is Home/.lima
	Home         string // the user's home directory
	User         string // who logs in where the spec says nothing
	GOOS         string // the host's, runtime.GOOS
	SSH          string // path of the ssh command, "" if there is none
	Shell        string // $SHELL, which runs a ProxyCommand; empty is /bin/sh

	LocalNodes []string // hosts that count as local: names or addresses

	DockerHost    string // $DOCKER_HOST
	ContainerHost string // $CONTAINER_HOST, podman's

	// Running reports whether a node answers, to choose among several profiles.
	// nil chooses by the files alone. It may be called by several goroutines.
	Running func(*Node) bool
}

// Resolve returns the node that o.Spec names. Its errors are diag.Usage for a
// spec that makes no sense and diag.NodeUnknown for one that names nothing.
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
	return nil, diag.Errorf(diag.Usage, "--node %q is neither %s", o.Spec, forms).WithHint("name the node as %s", forms)
}

// CheckLocal refuses a node that may be shared or in production, unless allow
// (--allow-non-local) is set.
func CheckLocal(n *Node, allow bool) error {
	if n.Local || allow {
		return nil
	}
	return diag.Errorf(diag.NodeNotLocal, "%s is not a local node: %s", n.Name, n.Why)
}

// isLoopback reports whether host, a name or an address, is this machine. No
// name is looked up: a DNS server must not decide what counts as local.
func isLoopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost"
}

// expandHome replaces a leading ~/ as a shell does, for paths that came from a
// file or from --identity=~/key.
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
