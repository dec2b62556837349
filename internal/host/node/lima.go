package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// limaName matches valid names of instances (lima's pkg/identifiers, Validate).
const limaName = `^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`

// Files in an instance's directory (lima's pkg/limatype/filenames).
const (
	limaYAML      = "lima.yaml"  // present in every instance's directory
	limaSSHConfig = "ssh.config" // remains when the instance stops
	limaAgentPID  = "ha.pid"     // removed when it stops
)

// resolveLima resolves lima:INSTANCE from the ssh configuration that lima writes
// whenever the instance starts (lima's pkg/hostagent/hostagent.go,
// writeSSHConfigFile; pkg/sshutil, SSHOpts and Format).
func resolveLima(name string, o Options) (*Node, error) {
	home := o.LimaHome // pkg/limatype/dirnames, LimaDir
	if home == "" {
		home = filepath.Join(o.Home, ".lima")
	}
	dir := filepath.Join(home, name)
	if !regexp.MustCompile(limaName).MatchString(name) || !isFile(filepath.Join(dir, limaYAML)) {
		return nil, diag.Errorf(diag.NodeUnknown, "lima has no instance %.80q in %s", name, home).WithHint("%s", limaInstancesHint(home))
	}
	config := filepath.Join(dir, limaSSHConfig)
	if !isFile(filepath.Join(dir, limaAgentPID)) || !isFile(config) {
		return nil, diag.Errorf(diag.NodeUnreachable, "lima's instance %s is not running", name).
			WithHint("start it: limactl start %s", name)
	}
	host := limaHostName(name)
	s, err := loadSSHSettings(host, config, o)
	var n *Node
	if err == nil {
		n, err = s.newNode(host, o)
	}
	if err != nil {
		return nil, diag.Errorf(diag.NodeUnknown, "lima's instance %s: %s: %w", name, config, err).
			WithHint("restart the instance, so that lima rewrites the file: limactl stop %s && limactl start %s", name, name)
	}
	n.Name = "lima:" + name
	n.Remedy = "check that it is running: limactl list"
	n.setLimaLocality(s.value("hostname"))
	// lima does not verify host keys, or stores unverified ones. The alias stays the
	// same when the forwarded port changes.
	n.HostKeys, n.KnownHosts, n.HostKeyAlias = Repin, nil, host
	if !n.Local {
		n.HostKeys = Pin
	}
	return n, nil
}

// setLimaLocality decides whether a lima instance at host runs on this machine:
// lima forwards a loopback port to it, and WSL gives it a private address.
func (n *Node) setLimaLocality(host string) {
	addr, err := netip.ParseAddr(host)
	n.Local = n.Proxy == nil && (isLoopback(host) || err == nil && addr.IsPrivate())
	n.Why = fmt.Sprintf("lima's instance is at %s", host)
}

// limaHostName returns an instance's host name in its ssh configuration (lima's
// pkg/instance/hostname, FromInstName).
func limaHostName(name string) string {
	return "lima-" + strings.NewReplacer(".", "-", "_", "-").Replace(name)
}

// limaInstancesHint returns a hint that lists the existing instances (lima's
// pkg/store, Instances).
func limaInstancesHint(home string) string {
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "check that you can read " + home
	}
	var names []string
	for _, e := range entries {
		if regexp.MustCompile(limaName).MatchString(e.Name()) && isFile(filepath.Join(home, e.Name(), limaYAML)) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return "there are no instances: create one with limactl start, or set LIMA_HOME to the directory that holds them"
	}
	return "use one of: " + strings.Join(names, ", ")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
