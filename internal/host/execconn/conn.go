// Package execconn connects to a node that is a container, through its engine: each
// command is one `docker exec` (or `podman exec`) that runs on this machine. It
// implements [remote.Conn], as sshconn does for nodes that are reached by SSH.
package execconn

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Conn runs commands in a container, as root. It keeps nothing open between commands, so
// only the next command shows that the container has stopped. Its methods may be called
// from several goroutines.
type Conn struct {
	engine engine
	node   *node.Node
	idle   time.Duration // see IdleTimeout
	done   chan struct{}

	mu     sync.Mutex // guards the following, and wg against Add after Wait
	closed bool
	open   map[*process]struct{} // not closed yet
	wg     sync.WaitGroup
}

// Dial checks that the container is running and that the user may use its engine. Its
// error is diag.NodeUnknown for a container that does not exist, and otherwise
// diag.NodeUnreachable.
func Dial(ctx context.Context, n *node.Node, idleTimeout time.Duration, log *slog.Logger) (*Conn, error) {
	e := engine{*n.Exec}
	if err := e.checkRunning(ctx); err != nil {
		return nil, err
	}
	log.Debug("the container is running", "engine", e.Engine, "container", e.Name)
	return &Conn{engine: e, node: n, idle: idleTimeout, done: make(chan struct{}), open: map[*process]struct{}{}}, nil
}

// Done is closed by Close.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends all commands and waits for the connection's goroutines. It may be called
// more than once.
func (c *Conn) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
	}
	var open []*process
	for p := range c.open {
		open = append(open, p)
	}
	c.mu.Unlock()
	for _, p := range open {
		p.Close()
	}
	c.wg.Wait()
	return nil
}

// Name implements [remote.Conn].
func (c *Conn) Name() string { return c.node.Name }

// Remedy implements [remote.Conn].
func (c *Conn) Remedy() string {
	return "check whether the container runs commands: " + remote.Quote(c.engine.exec([]string{"sh", "-c", "id"}))
}

// AsRoot implements [remote.Conn]: every command runs as root.
func (c *Conn) AsRoot(argv []string) []string { return argv }

// IdleTimeout implements [remote.Conn].
func (c *Conn) IdleTimeout() time.Duration { return c.idle }

// ExplainRefusal implements [remote.Conn]. It recognises the messages of engines.
func (c *Conn) ExplainRefusal(stderr []byte) *diag.Error { return c.engine.explain(string(stderr)) }

// spawn runs f in a goroutine that Close waits for. After Close it does not run f and
// returns false.
func (c *Conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// cause returns remote.ErrClosed after Close, and err before.
func (c *Conn) cause(err error) error {
	select {
	case <-c.done:
		return remote.ErrClosed
	default:
		return err
	}
}
