package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestLima reaches the node by the files that lima writes when an instance starts
// (internal/host/node/testdata/lima names the code that writes them).
func TestLima(t *testing.T) {
	f := setupAll(t)
	dir := filepath.Join(f.home, ".lima", "node")
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(dir)) })
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("Host lima-node\n  IdentityFile %q\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"+
		"  IdentitiesOnly yes\n  User %s\n  ControlMaster auto\n  ControlPath \"%s/ssh.sock\"\n  Hostname %s\n  Port 22\n",
		f.node.KeyFile(), f.node.User(), dir, f.node.IP())
	for name, content := range map[string]string{"lima.yaml": "", "ha.pid": "1\n", "ssh.config": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	checkLists(t, f.command(t.Context(), userUID, "ps", "--node", "lima:node"))
	f.runFailing(t, failure{3, "lima has no instance", "use one of: node"}, "ps", "--node", "lima:default")
	if err := os.Remove(filepath.Join(dir, "ha.pid")); err != nil {
		t.Fatal(err)
	}
	f.runFailing(t, failure{3, "is not running", "limactl start node"}, "ps", "--node", "lima:node")
}
