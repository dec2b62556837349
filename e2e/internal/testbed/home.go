//go:build linux

package testbed

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

// Profile is a minikube profile of the docker driver, of one node.
type Profile struct {
	Name  string
	IP    string
	Owner int    // uid of the files' owner
	Key   string // private key to copy together with its .pub; "" generates one
}

// WriteProfile writes p into home with minikube's own files (its
// pkg/minikube/config/types.go, pkg/libmachine/host/host.go and pkg/drivers/kic). A
// MINIKUBE_HOME must end in .minikube, otherwise minikube looks for a directory of
// that name in it.
func WriteProfile(ctx context.Context, home string, p Profile) error {
	machine, profile := filepath.Join(home, "machines", p.Name), filepath.Join(home, "profiles", p.Name)
	for _, dir := range []string{machine, profile} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	v := values{
		Name: p.Name, IP: p.IP, KubernetesVersion: parts.KubernetesVersion,
		StorePath: home, Key: filepath.Join(machine, "id_rsa"),
	}
	for name, path := range map[string]string{
		"profile.json": filepath.Join(profile, "config.json"),
		"machine.json": filepath.Join(machine, "config.json"),
	} {
		content, err := render(name, v)
		if err != nil {
			return err
		}
		if err := writeFile(path, content, 0o600); err != nil {
			return err
		}
	}
	if err := writeUserKey(ctx, v.Key, p.Key); err != nil {
		return err
	}
	for _, dir := range []string{home, filepath.Dir(machine), filepath.Dir(profile)} {
		if err := os.Lchown(dir, p.Owner, p.Owner); err != nil {
			return err
		}
	}
	for _, tree := range []string{machine, profile} {
		if err := chownTree(tree, p.Owner); err != nil {
			return err
		}
	}
	return nil
}

// writeUserKey copies the key pair from, or generates one of the type that minikube
// uses.
func writeUserKey(ctx context.Context, path, from string) error {
	if from == "" {
		return runCommand(ctx, nil, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", "", "-f", path)
	}
	for _, suffix := range []string{"", ".pub"} {
		raw, err := os.ReadFile(from + suffix)
		if err != nil {
			return err
		}
		if err := writeFile(path+suffix, raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// chownTree changes the owner of a tree to the user and the group of the same number.
func chownTree(dir string, owner int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, owner, owner)
	})
}

// writeHome writes the node's own profile.
func (n *Node) writeHome(ctx context.Context) error {
	home := n.MinikubeHome()
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return err
	}
	return WriteProfile(ctx, home, Profile{Name: n.Name(), IP: n.IP(), Owner: n.Owner()})
}
