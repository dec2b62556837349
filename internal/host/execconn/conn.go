// Package execconn reaches a node that is a container through its engine: each
// command is one `docker exec` (or `podman exec`) that runs on this machine. It
// is what sshconn is for a node that SSH reaches.
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

// Conn runs commands in a container, as root. Nothing stands open while none
// runs: that the container has gone shows when one does. Its methods may be
// called from several goroutines.
type Conn struct {
	engine engine
	node   *node.Node
	idle   time.Duration // see IdleTimeout
	done   chan struct{}

	mu     sync.Mutex // guards the following, and wg against Add after Wait
	closed bool
	open   map[*process]struct{} // those that were not closed
	wg     sync.WaitGroup
}

// Dial sees that the container runs and that the user may use its engine. For as
// long as idleTimeout says the node may owe anything. The errors are diag.NodeUnknown
// for a container that is not there and diag.NodeUnreachable.
func Dial(ctx context.Context, n *node.Node, idleTimeout time.Duration, log *slog.Logger) (*Conn, error) {
	e := engine{*n.Exec}
	if err := e.running(ctx); err != nil {
		return nil, err
	}
	log.Debug("the container runs", "engine", e.Engine, "container", e.Name)
	return &Conn{engine: e, node: n, idle: idleTimeout, done: make(chan struct{}), open: map[*process]struct{}{}}, nil
}

// Done is closed by Close.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends all commands and returns when all goroutines are gone. It may be
// called again.
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
	return "see whether it runs commands: " + remote.Quote(c.engine.exec([]string{"sh", "-c", "id"}))
}

// AsRoot implements [remote.Conn]: every command runs as root.
func (c *Conn) AsRoot(argv []string) []string { return argv }

// IdleTimeout implements [remote.Conn].
func (c *Conn) IdleTimeout() time.Duration { return c.idle }

// ExplainRefusal implements [remote.Conn]: it knows what engines say.
func (c *Conn) ExplainRefusal(stderr []byte) *diag.Error { return c.engine.explain(string(stderr)) }

// spawn runs f in a goroutine that Close joins. It reports false, and runs
// nothing, after Close.
func (c *Conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// lost returns remote.ErrClosed after Close, and err before.
func (c *Conn) lost(err error) error {
	select {
	case <-c.done:
		return remote.ErrClosed
	default:
		return err
	}
}
