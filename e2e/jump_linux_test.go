package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestJumpHost reaches the node's SSH server at its loopback address with the node
// itself as the jump host, from a user's configuration with Include, Match and
// ProxyJump.
func TestJumpHost(t *testing.T) {
	f := setupAll(t)
	dir := filepath.Join(f.dir, t.Name())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	included, config := filepath.Join(dir, "included"), filepath.Join(dir, "config")
	for name, text := range map[string]string{
		included: "Host jump\n  HostName " + f.node.IP() + "\n",
		config: strings.Join([]string{
			"Include " + included,
			"Match originalhost inner exec \"test -e " + included + "\"",
			"  HostName 127.0.0.1",
			"  HostKeyAlias " + f.node.IP(),
			"  ProxyJump jump",
			"Host *",
			"  User " + f.node.User(),
			"  IdentityFile " + f.node.KeyFile(),
			"  IdentitiesOnly yes",
			"  UserKnownHostsFile " + f.node.KnownHostsFile(),
			"",
		}, "\n"),
		// ssh uses the home directory of the password file, where this user has none.
		filepath.Join(dir, "ssh"): "#!/bin/sh\nexec /usr/bin/ssh -F " + config + " \"$@\"\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) *exec.Cmd {
		cmd := f.command(t.Context(), userUID, args...)
		cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"))
		return cmd
	}
	checkFails(t, command("ps", "--node", "ssh:inner"), failure{3, "is not a local node", "--allow-non-local"})
	checkLists(t, command("ps", "--node", "ssh:inner", "--allow-non-local"))
}
