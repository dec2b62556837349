// Package sshconn connects to a node over SSH: it dials, checks host keys, keeps the
// connection alive and runs commands. No other package imports x/crypto/ssh.
package sshconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Conn is an SSH connection to a node. Its methods may be called from several
// goroutines.
type Conn struct {
	ssh         ssh.Conn
	net         *monitoredConn
	node        *node.Node
	log         *slog.Logger
	idleTimeout time.Duration
	done        chan struct{}

	spare chan session // at most one, see reserve

	mu     sync.Mutex // guards the following, and wg against Add after Wait
	closed bool
	reason error // why we ended it, if we did
	err    error // why it ended; set before done is closed
	wg     sync.WaitGroup
}

// newConn takes over an established connection.
func newConn(nc *monitoredConn, sc ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request, cfg *Config) *Conn {
	conn := &Conn{ssh: sc, net: nc, node: cfg.Node, log: cfg.Log, idleTimeout: cfg.IdleTimeout, done: make(chan struct{}), spare: make(chan session, 1)}
	conn.wg.Go(func() {
		for ch := range chans { // a node must not open channels to the host
			_ = ch.Reject(ssh.Prohibited, "not allowed")
		}
	})
	conn.wg.Go(func() {
		for req := range reqs {
			_ = req.Reply(false, nil)
		}
	})
	conn.wg.Go(func() { conn.finish(sc.Wait()) })
	if cfg.KeepAlive > 0 {
		conn.wg.Go(func() { conn.keepAlive(cfg.KeepAlive) })
	}
	conn.reserve()
	return conn
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// IdleTimeout implements [remote.Conn].
func (c *Conn) IdleTimeout() time.Duration { return c.idleTimeout }

// Err returns nil until the connection has ended, remote.ErrClosed after Close, and a
// diag.LinkLost error if it ended for another reason.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	default:
		return nil
	}
}

// Close ends the connection and all commands that run over it, and waits for its
// goroutines. It may be called more than once.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.reason == nil && !c.net.broken.Load() { // otherwise it was lost first
		c.reason = remote.ErrClosed
	}
	c.mu.Unlock()
	_ = c.ssh.Close() // fails only if the connection has already ended
	c.wg.Wait()
	return nil
}

// fail ends the connection for the given reason.
func (c *Conn) fail(reason error) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.mu.Unlock()
	_ = c.ssh.Close()
}

// finish records why the connection has ended.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	switch {
	case errors.Is(c.reason, remote.ErrClosed):
		c.err = remote.ErrClosed
	case c.reason != nil:
		c.err = diag.Errorf(diag.LinkLost, "the SSH connection to %s ended: %w", c.node.Name, c.reason)
	default:
		c.err = diag.Errorf(diag.LinkLost, "the SSH connection to %s ended: %w", c.node.Name, err)
	}
	c.log.Debug("ssh connection ended", "node", c.node.Name, "err", c.err)
	c.mu.Unlock()
	close(c.done)
}

// keepAlive probes a node that was silent for a whole interval, and ends the
// connection if it is silent in the next one too. Everything that arrives counts, so
// that a slow connection under load is not taken for a dead one.
func (c *Conn) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last, probed := c.net.reads.Load(), false
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		}
		now := c.net.reads.Load()
		switch {
		case now != last:
			last, probed = now, false
		case probed:
			c.fail(fmt.Errorf("nothing received for %v", 2*every))
			return
		default:
			probed = true
			c.wg.Go(func() { _, _, _ = c.ssh.SendRequest("keepalive@openssh.com", true, nil) })
		}
	}
}

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

// do returns the result of f, or an error as soon as ctx ends: x/crypto/ssh takes no
// contexts. If ctx ends first, f continues until the connection ends at the latest, and
// its result is passed to drop, which may be nil.
func do[T any](ctx context.Context, c *Conn, f func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result) // unbuffered: a result is either received or dropped
	started := c.spawn(func() {
		v, err := f()
		select {
		case results <- result{v, err}:
		case <-ctx.Done():
			if err == nil && drop != nil {
				drop(v)
			}
		}
	})
	var zero T
	if !started {
		return zero, remote.ErrClosed
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// cause returns why the connection ended, if it has, and err otherwise. The channels
// of a connection end shortly before done is closed, but after reading has failed.
func (c *Conn) cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) { // a write, which may fail before a read does
		c.fail(err)
	} else if !c.net.broken.Load() {
		return err
	}
	<-c.done
	return c.Err()
}

// monitoredConn is the network connection. It counts reads, and remembers whether one has
// failed.
type monitoredConn struct {
	net.Conn
	reads  atomic.Uint64 // for keepAlive
	broken atomic.Bool   // a read has failed; for cause
}

func (c *monitoredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.reads.Add(1)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}
