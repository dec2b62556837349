package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// AgentDirs are where the agent stands on a node. What minikube has on its disk
// outlives a stop of its node.
func AgentDirs() []string { return []string{"/var/lib/minikube/dapbridge", "/var/lib/dapbridge"} }

// UploadOptions says how the agent gets onto the node.
type UploadOptions struct {
	// Dirs are where it may be stored, the first that can run programs; nil is
	// AgentDirs(). A directory whose parent does not exist is passed over.
	Dirs []string
	// Progress is called while the agent is copied, with bytes of the file. It
	// is not called at all if the agent is there already.
	Progress func(done, total int64)
	Log      *slog.Logger // nil is none
}

func (d *UploadOptions) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

func (d *UploadOptions) dirs() []string {
	if d.Dirs == nil {
		return AgentDirs()
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
func StartAgent(ctx context.Context, c Conn, b Binary, d UploadOptions, args []string) (*Cmd, error) {
	cmd, err := startAgent(ctx, c, b, d, args)
	var known *diag.Error
	if err == nil || ctx.Err() != nil || errors.As(err, &known) {
		return cmd, err
	}
	return nil, diag.Errorf(diag.AgentUpload, "%w", err).WithHint("%s", c.Remedy())
}

func startAgent(ctx context.Context, c Conn, b Binary, d UploadOptions, args []string) (*Cmd, error) {
	cmd, err := launch(ctx, c, b, d, args)
	if !errors.Is(err, errAbsent) {
		return cmd, err
	}
	d.log().Info("copying the agent to the node", "node", c.Name(), "file", b.Path)
	if err := upload(ctx, c, b, d); err != nil {
		return nil, err
	}
	cmd, err = launch(ctx, c, b, d, args)
	if errors.Is(err, errAbsent) {
		return nil, diag.Errorf(diag.AgentUpload, "the agent was stored on %s and is gone again", c.Name())
	}
	return cmd, err
}

// Platform returns the node's operating system and architecture in Go's words,
// as far as Go has words for them.
func Platform(ctx context.Context, c Conn) (os, arch string, err error) {
	stdout, stderr, exit, err := Run(ctx, c, []string{"uname", "-s", "-m"}, nil)
	if err != nil {
		return "", "", err
	}
	// The login shell may have spoken first.
	lines := strings.Split(strings.TrimSpace(string(stdout)), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if exit != 0 || len(f) != 2 {
		return "", "", diag.Errorf(diag.NodePlatform, "%s does not say what it is: uname -s -m wrote %q, exit status %d: %s",
			c.Name(), bounded(stdout), exit, OneLine(stderr))
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

// script returns the argv that runs a script of ours as root.
func script(c Conn, text string, args []string) []string {
	return c.AsRoot(append([]string{"sh", "-c", text, "dapbridge"}, args...))
}

// launch starts an agent that is there already. Its error is errAbsent if it is
// not.
func launch(ctx context.Context, c Conn, b Binary, d UploadOptions, args []string) (*Cmd, error) {
	argv := slices.Concat([]string{b.Hash}, d.dirs(), []string{"--"}, args)
	cmd, err := c.Start(ctx, script(c, startScript, argv))
	if err != nil {
		return nil, err
	}
	timed, timer := WithIdleTimeout(ctx, c, "output from the agent")
	defer timer.Stop()
	head, err := await(timed, cmd, func() (head, error) { return awaitAgent(cmd) })
	if err == nil && len(head.first) > 0 {
		cmd.Stdout = &prefixed{head: head.first, rest: cmd.Stdout}
		return cmd, nil
	}
	cmd.Close()
	if err != nil {
		return nil, fmt.Errorf("start the agent on %s: %w", c.Name(), err)
	}
	return nil, startError(c, head, cmd.ExitStatus())
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
func startError(c Conn, h head, exit int) error {
	switch {
	case h.announced:
		return diag.Errorf(diag.AgentUpload, "the agent on %s ended before it said anything: exit status %d: %s", c.Name(), exit, OneLine(h.stderr)).
			WithHint("see what it says above; if --agent names it, leave that out")
	case strings.Contains(string(h.stderr), absentMark):
		return errAbsent
	}
	if err := c.ExplainRefusal(h.stderr); err != nil {
		return err
	}
	return diag.Errorf(diag.AgentUpload, "%s did not start the agent: exit status %d: %s", c.Name(), exit, OneLine(h.stderr)).
		WithHint("%s", c.Remedy())
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
