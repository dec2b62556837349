package sshconn

import (
	"fmt"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Name implements [remote.Conn].
func (c *Conn) Name() string { return c.node.Name }

// Remedy implements [remote.Conn].
func (c *Conn) Remedy() string {
	return fmt.Sprintf("log in with ssh as %s and check whether the shell runs commands", c.node.User)
}

// AsRoot implements [remote.Conn]. LC_ALL keeps sudo's messages in English, for
// isSudo.
func (c *Conn) AsRoot(argv []string) []string {
	if c.node.User == "root" {
		return argv
	}
	return append([]string{"env", "LC_ALL=C", "sudo", "-n", "--"}, argv...)
}

// ExplainRefusal implements [remote.Conn]. It recognises the messages of sudo.
func (c *Conn) ExplainRefusal(stderr []byte) *diag.Error {
	user := c.node.User
	if user == "root" || !isSudo(string(stderr)) {
		return nil
	}
	if strings.Contains(string(stderr), "must have a tty") { // requiretty, sudoers(5)
		return diag.Errorf(diag.NoSudo, "sudo requires a terminal for the user %s on %s: %s", user, c.node.Name, remote.OneLine(stderr)).
			WithHint("run as root on the node: echo 'Defaults:%s !requiretty' > /etc/sudoers.d/dapbridge-tty", user)
	}
	return diag.Errorf(diag.NoSudo, "the user %s has no passwordless sudo on %s: %s", user, c.node.Name, remote.OneLine(stderr)).
		WithHint("run as root on the node: echo '%s ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/dapbridge", user)
}

// isSudo reports whether text, which was written before our script ran, is from sudo,
// or from a shell about sudo.
func isSudo(text string) bool {
	return strings.Contains(text, "sudo") || strings.Contains(text, "is not allowed to")
}
