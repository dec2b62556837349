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

// AgentDirs returns the directories for the agent on a node. The one of minikube is
// on a disk that survives a restart of its node.
func AgentDirs() []string { return []string{"/var/lib/minikube/dapbridge", "/var/lib/dapbridge"} }

// UploadOptions are the settings for an upload of the agent to a node.
type UploadOptions struct {
	// Dirs are the directories that may hold the agent. It is stored in the first
	// from which programs can run; those whose parent does not exist are skipped.
	// nil means AgentDirs().
	Dirs []string
	// Progress is called during the upload, with bytes of the file. It is not called
	// if the node already has the agent.
	Progress func(done, total int64)
	Log      *slog.Logger // nil means no log
}

func (o *UploadOptions) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

func (o *UploadOptions) dirs() []string {
	if o.Dirs == nil {
		return AgentDirs()
	}
	return o.Dirs
}

// absentError means that the node has none of the agents.
type absentError struct{ platform string } // the node's, as uname -s -m prints it

func (e *absentError) Error() string { return "the agent is not on the node" }

// maxNoise bounds what a login shell may print before the agent starts, and how much
// of its error output is kept.
const maxNoise = 64 << 10

// StartAgent runs an agent with args as root on the node. It blocks until the agent has
// written its first bytes, which are still in the Cmd's Stdout. This takes a single command
// if the node has one of agents.Hashes(); otherwise the agent for the node's platform is
// uploaded. The caller must read both Stdout and Stderr.
func StartAgent(ctx context.Context, c Conn, agents Agents, o UploadOptions, args []string) (*Cmd, error) {
	cmd, err := startAgent(ctx, c, agents, o, args)
	var known *diag.Error
	if err == nil || ctx.Err() != nil || errors.As(err, &known) {
		return cmd, err
	}
	return nil, diag.Errorf(diag.AgentUpload, "%w", err).WithHint("%s", c.Remedy())
}

func startAgent(ctx context.Context, c Conn, agents Agents, o UploadOptions, args []string) (*Cmd, error) {
	tried := agents.Hashes()
	cmd, err := launch(ctx, c, tried, o, args)
	var absent *absentError
	if !errors.As(err, &absent) {
		return cmd, err
	}
	arch, err := parsePlatform(c, absent.platform)
	if err != nil {
		return nil, err
	}
	b, err := agents.Find(ctx, arch)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(tried, b.Hash) { // it was built anew, and may be the same as before
		cmd, err = launch(ctx, c, b.Hashes(), o, args)
		if !errors.As(err, &absent) {
			return cmd, err
		}
	}
	if err := upload(ctx, c, b, o); err != nil {
		return nil, err
	}
	cmd, err = launch(ctx, c, b.Hashes(), o, args)
	if errors.As(err, &absent) {
		return nil, diag.Errorf(diag.AgentUpload, "the agent was stored on %s, but is not there any more", c.Name())
	}
	return cmd, err
}

// parsePlatform returns the node's architecture, as GOARCH, from what uname -s -m printed.
// Its error, diag.NodePlatform, means that agents cannot run there.
func parsePlatform(c Conn, uname string) (arch string, err error) {
	switch uname {
	case "Linux x86_64":
		return "amd64", nil
	case "Linux aarch64":
		return "arm64", nil
	}
	return "", diag.Errorf(diag.NodePlatform, "%s is not linux/amd64 or linux/arm64: uname -s -m printed %q", c.Name(), truncate([]byte(uname)))
}

// scriptCommand returns the argv that runs a shell script as root.
func scriptCommand(c Conn, text string, args []string) []string {
	return c.AsRoot(append([]string{"sh", "-c", text, "dapbridge"}, args...))
}

// launch starts an agent that the node has. Its error is an *absentError if the node has
// none with one of the hashes.
func launch(ctx context.Context, c Conn, hashes []string, o UploadOptions, args []string) (*Cmd, error) {
	argv := slices.Concat([]string{strings.Join(hashes, " ")}, o.dirs(), []string{"--"}, args)
	cmd, err := c.Start(ctx, scriptCommand(c, startScript, argv))
	if err != nil {
		return nil, err
	}
	timed, timer := WithIdleTimeout(ctx, c, "output from the agent")
	defer timer.Stop()
	head, err := await(timed, cmd, func() (head, error) { return awaitAgent(cmd) })
	if err == nil && len(head.first) > 0 {
		cmd.Stdout = &prefixReader{head: head.first, rest: cmd.Stdout}
		return cmd, nil
	}
	cmd.Close()
	if err != nil {
		return nil, fmt.Errorf("start the agent on %s: %w", c.Name(), err)
	}
	return nil, startError(c, head, cmd.ExitStatus())
}

// head is the outcome of starting an agent: its first bytes, or else the error
// output.
type head struct {
	announced bool   // the script got as far as running the agent
	first     []byte // empty if the output ended first
	stderr    []byte // set only if first is empty
}

// awaitAgent reads until it has the first bytes of the agent itself.
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
			return h, fmt.Errorf("the login shell printed more than %d bytes", maxNoise)
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, cap(buf)+4096)
		}
	}
}

// startError returns why the agent did not start, from what the node wrote instead.
func startError(c Conn, h head, exit int) error {
	if h.announced {
		return diag.Errorf(diag.AgentUpload, "the agent on %s ended without any output: exit status %d: %s", c.Name(), exit, OneLine(h.stderr)).
			WithHint("see its error output above; if you set --agent, try without it")
	}
	if _, rest, ok := strings.Cut(string(h.stderr), absentMark); ok {
		platform, _, _ := strings.Cut(rest, "\n")
		return &absentError{strings.TrimSpace(platform)}
	}
	if err := c.ExplainRefusal(h.stderr); err != nil {
		return err
	}
	return diag.Errorf(diag.AgentUpload, "%s did not start the agent: exit status %d: %s", c.Name(), exit, OneLine(h.stderr)).
		WithHint("%s", c.Remedy())
}

// prefixReader reads head, then rest.
type prefixReader struct {
	head []byte
	rest io.Reader
}

func (p *prefixReader) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.rest.Read(b)
}

// readBounded reads r to its end and returns the first maxNoise bytes.
func readBounded(r io.Reader) []byte {
	data, _ := io.ReadAll(io.LimitReader(r, maxNoise))
	_, _ = io.Copy(io.Discard, r)
	return data
}
