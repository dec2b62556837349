package link

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/execconn"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// Config says how a node is reached, and which of its processes is the target.
type Config struct {
	SSH         sshconn.Config       // the node, and how SSH reaches it unless a container engine does
	Agent       remote.AgentSource   // where the agent's binary comes from
	Upload      remote.UploadOptions // and where on the node it goes
	Target      api.Selector
	Dlv         string        // address on the node of a headless dlv to use instead of our own debugger; "" for none
	Lease       time.Duration // how long the agent holds the target without a message from us
	IdleTimeout time.Duration // bound on an answer that needs no debugger; 0 for one minute
	Self        string        // names this process, user and machine for other users of the node
	NoSession   bool          // the command starts no debug session
	Log         *slog.Logger
}

const defaultIdleTimeout = time.Minute

// withDefaults returns c with its idle timeout set.
func (c Config) withDefaults() Config {
	if c.IdleTimeout == 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	c.SSH.IdleTimeout = c.IdleTimeout
	return c
}

// WithLog returns c with all its parts logging to log.
func (c Config) WithLog(log *slog.Logger) Config {
	c.Log, c.SSH.Log, c.Upload.Log, c.Agent.Log = log, log, log, log
	return c
}

// Conn is a connection to a node, over any transport. Close may be called more than once.
type Conn interface {
	remote.Conn
	Done() <-chan struct{} // closed when it has ended
	Close() error          // ends it and everything that runs over it
}

// DialNode connects to the node, by SSH or through its container engine.
func DialNode(ctx context.Context, c Config) (Conn, error) {
	c = c.withDefaults()
	if c.SSH.Node.Exec != nil {
		return execconn.Dial(ctx, c.SSH.Node, c.IdleTimeout, c.SSH.Log)
	}
	return sshconn.Dial(ctx, c.SSH)
}

// StartAgent runs the agent with args. It uploads the agent unless the node has it.
func StartAgent(ctx context.Context, conn Conn, c Config, args []string) (*remote.Cmd, error) {
	return remote.StartAgent(ctx, conn, c.Agent, c.Upload, args)
}

// CopyLog logs each line that a dapbridge command on the node writes to r, until r ends.
// It returns the last line.
func CopyLog(log *slog.Logger, name string, r io.Reader) (last string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		last = diag.Escape(lines.Text())
		log.Debug(name + ": " + last)
	}
	io.Copy(io.Discard, r)
	return last
}
