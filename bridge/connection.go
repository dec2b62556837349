package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// connection is what the clients of both protocols have in common: one stream,
// and for a time the debugger. Its run goroutine reads the client and never
// waits for what it writes, to either side, so that it always notices when the
// client goes. Others write to the client, attach, and while a session is
// attached read and write the node.
type connection struct {
	srv   *Server
	conn  net.Conn
	queue *queue // to the client
	log   *slog.Logger
	halts haltWatch
	wg    sync.WaitGroup // everything but run
	ctx   context.Context
	stop  context.CancelFunc // ends ctx: the client is going

	ended chan struct{}   // closed when the session has ended on the node
	left  func(why error) // called once, just before that; may be nil

	mu          sync.Mutex
	phase       phase
	endReason   error // why there is no session any more
	backlog     [][]byte
	backlogSize int
	attempt     *attempt // the last attach
	sess        Session  // from the attach's success on
	toNode      *queue   // the same
}

// state is how far a client has come. It only goes down this list, but for a
// failed attach of DAP, which goes back to initialized.
type phase int

const (
	phaseNew         phase = iota
	phaseInitialized       // the bridge has answered DAP's initialize
	phaseAttaching         // the node attaches; requests gather in the backlog
	phaseAttached          // relaying
	phaseEnded             // no session any more
)

// attempt is an attach under way.
type attempt struct {
	cancel context.CancelCauseFunc // ends it for a reason that the client is told
	done   chan struct{}           // closed when it has succeeded, or failed and left nothing
	holder *holder                 // the client in the slot
}

// maxBacklog bounds the requests that wait for an attach, in bytes.
const maxBacklog = 16 << 20

// lastWords is how long a client may take to read what it was told at the end.
const drainTimeout = 5 * time.Second

// errDone ends run after a request that ends the connection.
var errDone = errors.New("done")

// open makes the zero value ready for a client.
func (c *connection) open(s *Server, conn net.Conn, log *slog.Logger) {
	c.srv, c.conn, c.log = s, conn, log
	c.queue = newQueue()
	c.queue.tryWrite = nonblockingWriter(conn)
	c.ended = make(chan struct{})
}

// run has read handle the client's messages until the client, an error of
// read's or ctx ends it. On return the session is over and every goroutine has
// ended.
func (c *connection) run(ctx context.Context, read func() error) {
	c.ctx, c.stop = context.WithCancel(ctx)
	unhook := context.AfterFunc(c.ctx, func() { c.conn.Close() })
	c.wg.Go(c.write)
	err := read()
	if err == errDone {
		c.conn.SetWriteDeadline(time.Now().Add(drainTimeout))
		c.queue.waitIdle()
	} else if err != io.EOF && c.ctx.Err() == nil {
		c.log.Warn("connection closed", "error", err)
	}
	c.stop()
	unhook()
	c.finish(errEnded)
	c.queue.stop(errEnded)
	c.conn.Close()
	c.wg.Wait()
}

// write writes to the client. One that can't be told anything is gone.
func (c *connection) write() {
	err := c.queue.run(c.conn)
	if c.ctx.Err() == nil {
		c.log.Warn("writing to the client", "error", err)
	}
	c.stop()
}

// keep puts a request into the backlog. The caller has c.mu.
func (c *connection) addToBacklog(body []byte) error {
	c.backlogSize += len(body)
	if c.backlogSize > maxBacklog {
		return fmt.Errorf("more than %d bytes of requests before the attach is done", maxBacklog)
	}
	c.backlog = append(c.backlog, slices.Clone(body))
	return nil
}

// takeBacklog returns what has been kept, and keeps it no longer. The caller has
// c.mu.
func (c *connection) takeBacklog() [][]byte {
	kept := c.backlog
	c.backlog, c.backlogSize = nil, 0
	return kept
}

// startAttach has attach run with seat, and failed if it fails, and returns at
// once. The caller has c.mu.
func (c *connection) startAttach(seat *holder, attach func(context.Context) error, failed func(context.Context, error)) {
	ctx, giveUp := context.WithCancelCause(c.ctx)
	a := &attempt{cancel: giveUp, done: make(chan struct{}), holder: seat}
	c.phase, c.attempt = phaseAttaching, a
	c.wg.Go(func() {
		defer close(a.done)
		defer giveUp(nil)
		if err := attach(ctx); err != nil {
			failed(ctx, err)
		}
	})
}

// dial waits for the slot and has the node attach. On an error the target and
// the slot are as before.
func (c *connection) dial(ctx context.Context, seat *holder, w DialOptions) (Session, error) {
	if err := c.srv.slot.acquire(ctx, seat, c.srv.cfg.Takeover); err != nil {
		return nil, err
	}
	sess, err := c.srv.cfg.Dialer.Dial(ctx, w)
	if err != nil {
		c.srv.slot.release(seat)
		return nil, err
	}
	return sess, nil
}

// attachError is what the client is told of an attach that failed with err.
func (c *connection) explainAttachFailure(ctx context.Context, err error) error {
	c.log.Warn("attach failed", "error", err)
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// begin makes the session the client's: what waits in toNode is written, relay
// reads, lost is called with the error of writing, and tell with a line for
// people while the target stands still. The caller has c.mu.
func (c *connection) startSession(sess Session, toNode *queue, relay func(), lost func(error), tell func(string)) {
	c.sess, c.toNode, c.phase = sess, toNode, phaseAttached
	c.halts.target, c.halts.notify = sess.Target().Name, tell
	c.halts.markHalted()
	c.wg.Go(relay)
	c.wg.Go(func() { lost(toNode.run(sess)) })
}

// finish ends the session on the node, if there is one, or the attach under
// way, whose client is told why, and leaves the slot. It may be called by
// several goroutines; each returns when the session is over. The first is told
// so, and of an error.
func (c *connection) finish(why error) (first bool, err error) {
	c.mu.Lock()
	for c.phase == phaseAttaching {
		a := c.attempt
		c.srv.slot.leave(a.holder)
		a.cancel(why)
		c.mu.Unlock()
		<-a.done
		c.mu.Lock()
	}
	first = c.phase == phaseAttached
	if c.phase != phaseEnded {
		c.phase, c.endReason = phaseEnded, why
	}
	sess, toNode, a := c.sess, c.toNode, c.attempt
	c.mu.Unlock()
	c.halts.stop()
	switch {
	case first:
		err = c.endSession(sess, a.holder)
		toNode.stop(errEnded)
		if err != nil {
			why = err
		}
		if c.left != nil {
			c.left(why)
		}
		close(c.ended)
	case sess != nil:
		<-c.ended
	}
	return first, err
}

// end ends a session on the node and leaves the slot.
func (c *connection) endSession(sess Session, seat *holder) error {
	c.srv.slot.leave(seat)
	defer c.srv.slot.release(seat)
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	err := sess.End(ctx)
	if err != nil {
		c.log.Error("the session's end", "error", err)
	}
	return err
}
