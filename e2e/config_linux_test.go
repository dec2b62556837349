package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestConfiguration connects to the node with only the user's own configuration file,
// and to no other node by a workspace's file that the user has not trusted.
func TestConfiguration(t *testing.T) {
	f := setup(t)
	f.knownHosts(t, f.node.KnownHostsLine())
	own := filepath.Join(f.home, ".config", "dapbridge", "config.yaml")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Join(f.home, ".config")) })

	login := "node: ssh://docker@" + f.node.SSHAddr() + "\nidentity: " + f.node.KeyFile() + "\n"
	ownedFile(t, own, login, userUID)
	f.runFailing(t, failure{3, "neither a loopback address nor a minikube profile", "local-nodes"}, "ps")
	ownedFile(t, own, login+"local-nodes: ["+f.node.IP()+"]\n", userUID)
	checkLists(t, f.command(t.Context(), userUID, "ps"))

	workspace := filepath.Join(f.source, "dapbridge.yaml")
	t.Cleanup(func() { os.Remove(workspace) })
	elsewhere := "target: containerd\nnode: ssh://docker@" + freePort(t) + "\n"
	ownedFile(t, workspace, elsewhere, otherUID)
	f.runFailing(t, failure{2, workspace + ":2: node connects to a machine", "dapbridge trust"}, "ps")
	f.runFailing(t, failure{2, "it belongs to another user", "chmod go-w"}, "trust")
	ownedFile(t, workspace, elsewhere, userUID)
	if out, err := f.command(t.Context(), userUID, "trust").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.runFailing(t, failure{3, "connection refused", "check that the node is running"}, "ps")
	checkLists(t, f.command(t.Context(), userUID, append([]string{"ps"}, f.nodeArgs()...)...)) // a flag wins
	ownedFile(t, workspace, "target: containerd\n", userUID)
	checkLists(t, f.command(t.Context(), userUID, "ps"))
	if out, err := f.command(t.Context(), userUID, "trust", "--remove").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// ownedFile replaces a file of a user.
func ownedFile(t *testing.T, path, text string, uid int) {
	t.Helper()
	os.Remove(path)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}
