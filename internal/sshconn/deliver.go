package sshconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Delivery says how the agent gets onto the node.
type Delivery struct {
	// Dirs are where it may be stored, the first that can run programs; nil is
	// /var/lib/minikube/dapbridge and /var/lib/dapbridge. A directory whose
	// parent does not exist is passed over.
	Dirs []string
	// NoSudo runs everything as the SSH user. A user called root never needs
	// sudo.
	NoSudo bool
	// Progress is called while the agent is copied, with bytes of the file. It
	// is not called at all if the agent is there already.
	Progress func(done, total int64)
}

func (d *Delivery) dirs() []string {
	if d.Dirs == nil {
		return []string{"/var/lib/minikube/dapbridge", "/var/lib/dapbridge"}
	}
	return d.Dirs
}

// errAbsent says that the node does not have the agent.
var errAbsent = errors.New("the agent is not on the node")

// maxNoise bounds what a login shell may say before the agent starts, and what
// is kept of error output.
const maxNoise = 64 << 10

// StartAgent runs the agent b with args as root on the node and returns when it
// has written its first bytes, which the Cmd's Stdout begins with. If the node
// does not have it yet, it is put there first; otherwise one command does it
// all. The caller must read both Stdout and Stderr.
func (c *Conn) StartAgent(ctx context.Context, b Binary, d Delivery, args []string) (*Cmd, error) {
	cmd, err := c.launch(ctx, b, d, args)
	if !errors.Is(err, errAbsent) {
		return cmd, err
	}
	c.log.Info("copying the agent to the node", "node", c.node.Name, "file", b.Path)
	if err := c.upload(ctx, b, d); err != nil {
		return nil, err
	}
	cmd, err = c.launch(ctx, b, d, args)
	if errors.Is(err, errAbsent) {
		return nil, diag.Errorf(diag.AgentUpload, "the agent was stored on %s and is gone again", c.node.Name)
	}
	return cmd, err
}

// Platform returns the node's operating system and architecture in Go's words,
// as far as Go has words for them.
func (c *Conn) Platform(ctx context.Context) (os, arch string, err error) {
	stdout, stderr, exit, err := c.Run(ctx, []string{"uname", "-s", "-m"}, nil)
	if err != nil {
		return "", "", err
	}
	// The login shell may have spoken first.
	lines := strings.Split(strings.TrimSpace(string(stdout)), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if exit != 0 || len(f) != 2 {
		return "", "", diag.Errorf(diag.NodePlatform, "%s does not say what it is: uname -s -m wrote %q, exit status %d: %s",
			c.node.Name, bounded(stdout), exit, oneLine(stderr))
	}
	arch = f[1]
	switch arch {
	case "x86_64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	}
	return strings.ToLower(f[0]), arch, nil
}

// sudo reports whether commands need sudo to run as root.
func (c *Conn) sudo(d Delivery) bool { return !d.NoSudo && c.node.User != "root" }

// AsRoot returns the argv that runs argv as root, as d wants it. LC_ALL is for
// sudo, whose messages isSudo reads.
func (c *Conn) AsRoot(d Delivery, argv []string) []string {
	if !c.sudo(d) {
		return argv
	}
	return append([]string{"env", "LC_ALL=C", "sudo", "-n", "--"}, argv...)
}

func (c *Conn) script(d Delivery, script string, args []string) []string {
	return c.AsRoot(d, append([]string{"sh", "-c", script, "dapbridge"}, args...))
}

// launch starts an agent that is there already. Its error is errAbsent if it is
// not.
func (c *Conn) launch(ctx context.Context, b Binary, d Delivery, args []string) (*Cmd, error) {
	argv := slices.Concat([]string{b.Hash}, d.dirs(), []string{"--"}, args)
	cmd, err := c.Start(ctx, c.script(d, startScript, argv))
	if err != nil {
		return nil, err
	}
	head, err := do(ctx, c, func() (head, error) { return awaitAgent(cmd) }, nil)
	if err == nil && len(head.first) > 0 {
		cmd.Stdout = &prefixed{head: head.first, rest: cmd.Stdout}
		return cmd, nil
	}
	cmd.Close()
	if err != nil {
		return nil, fmt.Errorf("start the agent on %s: %w", c.node.Name, err)
	}
	return nil, c.startError(d, head, cmd.ExitStatus())
}

// head is how an agent's start went: its first bytes, or else what was said
// instead.
type head struct {
	announced bool   // the script came as far as running the agent
	first     []byte // empty at the end of the output
	stderr    []byte // only then
}

// awaitAgent reads up to the first bytes of the agent itself.
func awaitAgent(cmd *Cmd) (head, error) {
	var h head
	buf := make([]byte, 0, 4096)
	for {
		n, err := cmd.Stdout.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf, []byte(startMark)); i >= 0 && !h.announced {
			h.announced = true
			buf = buf[i+len(startMark):]
		}
		if h.announced && len(buf) > 0 {
			h.first = buf
			return h, nil
		}
		switch {
		case err == io.EOF:
			h.stderr = readBounded(cmd.Stderr)
			var exit *ExitError
			if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
				return h, err
			}
			return h, nil
		case err != nil:
			return h, err
		case len(buf) > maxNoise:
			return h, fmt.Errorf("the login shell writes more than %d bytes of its own", maxNoise)
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, cap(buf)+4096)
		}
	}
}

// startError says why there is no agent, from what the node wrote instead.
func (c *Conn) startError(d Delivery, h head, exit int) error {
	text := string(h.stderr)
	switch {
	case h.announced:
		return diag.Errorf(diag.AgentUpload, "the agent on %s ended before it said anything: exit status %d: %s", c.node.Name, exit, oneLine(h.stderr)).
			WithHint("see what it says above; if --agent names it, leave that out")
	case strings.Contains(text, absentMark):
		return errAbsent
	case c.sudo(d) && isSudo(text):
		return c.noSudo(h.stderr)
	}
	return diag.Errorf(diag.AgentUpload, "%s did not start the agent: exit status %d: %s", c.node.Name, exit, oneLine(h.stderr)).
		WithHint("log in with ssh as %s and see whether the shell runs commands", c.node.User)
}

func (c *Conn) noSudo(stderr []byte) error {
	user := c.node.User
	if strings.Contains(string(stderr), "must have a tty") { // requiretty, sudoers(5)
		return diag.Errorf(diag.NoSudo, "sudo wants a terminal of the user %s on %s: %s", user, c.node.Name, oneLine(stderr)).
			WithHint("run there as root: echo 'Defaults:%s !requiretty' > /etc/sudoers.d/dapbridge-tty", user)
	}
	return diag.Errorf(diag.NoSudo, "the user %s has no passwordless sudo on %s: %s", user, c.node.Name, oneLine(stderr)).
		WithHint("run there as root: echo '%s ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/dapbridge", user)
}

// isSudo reports whether text, which was written before our script ran, is
// sudo's, or a shell's about sudo.
func isSudo(text string) bool {
	return strings.Contains(text, "sudo") || strings.Contains(text, "is not allowed to")
}

// prefixed reads head and then rest.
type prefixed struct {
	head []byte
	rest io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.rest.Read(b)
}

// readBounded reads r to its end and returns the beginning.
func readBounded(r io.Reader) []byte {
	data, _ := io.ReadAll(io.LimitReader(r, maxNoise))
	_, _ = io.Copy(io.Discard, r)
	return data
}

// bounded returns at most 500 bytes of text, for messages.
func bounded(text []byte) string {
	const most = 500
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}

// oneLine makes a node's error output fit into a message.
func oneLine(text []byte) string {
	s := strings.ReplaceAll(strings.TrimSpace(bounded(text)), "\n", "; ")
	if s == "" {
		return "no message"
	}
	return diag.Escape(s)
}
