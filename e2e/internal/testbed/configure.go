//go:build linux

package testbed

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

//go:embed files
var files embed.FS

// dockerID is the uid and gid of the user docker, the first user added to the root
// file system.
const dockerID = 1000

const manifestDir = "etc/kubernetes/manifests"

// values fill the templates in files/.
type values struct {
	Name, IP, KubernetesVersion string
	PauseImage, PodImage, Pod   string
	StorePath, Key              string // of a minikube home
}

func (n *Node) templateValues() values {
	return values{
		Name: n.Name(), IP: n.IP(), KubernetesVersion: parts.KubernetesVersion,
		PauseImage: parts.PauseImage, PodImage: parts.PodImage,
	}
}

// render returns a template of files/ with the values filled in.
func render(name string, v values) ([]byte, error) {
	raw, err := files.ReadFile("files/" + name)
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(raw))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}

// configure writes the node's own configuration into its root file system before it
// boots.
func (n *Node) configure(ctx context.Context) error {
	if err := n.renderFiles(); err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", n.IP(), n.Name())
	for path, content := range map[string]string{
		"etc/hosts":                        hosts,
		"etc/hostname":                     n.Name() + "\n",
		"etc/ssh/sshd_config.d/local.conf": "UseDNS no\nPasswordAuthentication no\n",
	} {
		if err := writeFile(filepath.Join(n.rootDir(), path), []byte(content), 0o644); err != nil {
			return err
		}
	}
	// minikube keeps the Kubernetes programs on its volume.
	binaries := filepath.Join(n.varDir(), "lib/minikube/binaries", parts.KubernetesVersion)
	for _, dir := range []string{filepath.Join(n.rootDir(), manifestDir), binaries} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/usr/bin/kubelet", filepath.Join(binaries, "kubelet")); err != nil {
		return err
	}
	if err := n.writeKeys(ctx); err != nil {
		return err
	}
	return n.enableUnits()
}

// renderFiles writes the templates of files/ that this node needs.
func (n *Node) renderFiles() error {
	root, kubelet := n.rootDir(), n.facts.Kubelet
	units := filepath.Join(root, "usr/lib/systemd/system")
	for _, f := range []struct {
		name, dir, base string
		mode            fs.FileMode
		wanted          bool
	}{
		{"containerd.service", units, "containerd.service", 0o644, true},
		{configName(n.Containerd()), filepath.Join(root, "etc/containerd"), "config.toml", 0o644, true},
		{"runc", filepath.Join(root, "usr/local/sbin"), "runc", 0o755, true},
		{"kubelet.service", units, "kubelet.service", 0o644, kubelet},
		{"kubelet.yaml", filepath.Join(n.varDir(), "lib/kubelet"), "config.yaml", 0o644, kubelet},
		{"sysctls", filepath.Join(root, "usr/local/sbin"), "testnode-sysctls", 0o755, kubelet},
	} {
		if !f.wanted {
			continue
		}
		content, err := render(f.name, n.templateValues())
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(f.dir, f.base), content, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// writeKeys generates the node's host keys and authorizes the owner's key.
func (n *Node) writeKeys(ctx context.Context) error {
	if err := runCommand(ctx, nil, "ssh-keygen", "-A", "-f", n.rootDir()); err != nil {
		return err
	}
	public, err := filepath.Glob(filepath.Join(n.rootDir(), "etc/ssh/ssh_host_*_key.pub"))
	if err != nil {
		return err
	}
	var known strings.Builder
	for _, path := range public {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// The third field is a comment.
		if fields := strings.Fields(string(raw)); len(fields) >= 2 {
			fmt.Fprintf(&known, "%s %s %s\n", n.IP(), fields[0], fields[1])
		}
	}
	if err := writeFile(n.KnownHostsFile(), []byte(known.String()), 0o644); err != nil {
		return err
	}
	key, err := os.ReadFile(n.KeyFile() + ".pub")
	if err != nil {
		return err
	}
	authorized := filepath.Join(n.rootDir(), "home/docker/.ssh/authorized_keys")
	if err := writeFile(authorized, key, 0o644); err != nil {
		return err
	}
	return os.Chown(authorized, dockerID, dockerID)
}

// enableUnits does what "systemctl enable" would.
func (n *Node) enableUnits() error {
	wants := filepath.Join(n.rootDir(), "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	units := []string{"containerd.service"}
	if n.facts.Kubelet {
		units = append(units, "kubelet.service")
	}
	for _, unit := range units {
		if err := os.Symlink("/usr/lib/systemd/system/"+unit, filepath.Join(wants, unit)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file and creates its parent directories. mode is not subject to
// the umask.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
