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

// protocolHandler is the part of a [connection] that depends on the protocol.
type protocolHandler interface {
	// readRequests handles the client's requests until reading fails or a request
	// ends the connection (errDone). It must not wait for a peer to read.
	readRequests() error

	// attach takes the slot with h, dials, and passes on the requests received so
	// far. If it fails, it refuses them, and the target is left as it was.
	attach(ctx context.Context, h *holder)

	// relayNode relays the node's messages until its stream fails.
	relayNode() error

	// notify shows the user a line. It must not block.
	notify(line string)

	// announceEnd says that the session ends unasked, and why. err is what the node's
	// stream failed with, nil if it did not fail. It must not block.
	announceEnd(why string, err error)

	// refuseWaiting answers the requests that the node has not answered. It is
	// called once, when the session has ended.
	refuseWaiting(why error)

	// reportEnd tells the client that its session has ended although it did not ask
	// for that.
	reportEnd()
}

// connection is what clients of both protocols have in common: one stream and, during
// a session, the debugger. Its run goroutine reads from the client and never waits for
// a write to either side, so that it always notices when the client disconnects. Other
// goroutines write to the client, attach, and during a session read from and write to
// the node.
type connection struct {
	srv     *Server
	conn    net.Conn
	handler protocolHandler
	queue   *queue // to the client
	log     *slog.Logger
	halts   haltWatch
	wg      sync.WaitGroup // every goroutine except run's
	ctx     context.Context
	stop    context.CancelFunc // cancels ctx: the client is disconnecting

	ended chan struct{} // closed when the session has ended on the node

	mu          sync.Mutex
	phase       phase
	endReason   error // once phase is phaseEnded
	backlog     [][]byte
	backlogSize int
	attempt     *attempt // the last attach
	sess        Session  // set when the attach succeeds
	toNode      *queue   // set with sess
}

// phase is a client's state. It only advances, except that a failed attach takes a DAP
// client back to phaseInitialized.
type phase int

const (
	phaseNew         phase = iota
	phaseInitialized       // the bridge has answered DAP's initialize
	phaseAttaching         // the node attaches; requests go to the backlog
	phaseAttached          // messages are relayed
	phaseEnded             // the session has ended, or could not start
)

// attempt is an attach under way.
type attempt struct {
	cancel context.CancelCauseFunc // the cause is reported to the client
	done   chan struct{}           // closed when the attach has succeeded, or has failed and left nothing behind
	holder *holder
}

// maxBacklog bounds the requests that wait for an attach, in bytes.
const maxBacklog = 16 << 20

// drainTimeout bounds how long a client may take to read its last messages.
const drainTimeout = 5 * time.Second

// errDone is returned after a request that ends the connection.
var errDone = errors.New("done")

// open prepares the zero connection to serve a client on conn.
func (c *connection) open(s *Server, conn net.Conn, h protocolHandler, log *slog.Logger) {
	c.srv, c.conn, c.handler, c.log = s, conn, h, log
	c.queue = newQueue()
	c.queue.tryWrite = nonblockingWriter(conn)
	c.ended = make(chan struct{})
}

// run serves the client until it disconnects, one of its requests ends the connection,
// or ctx is done. When run returns, the session and every goroutine have ended.
func (c *connection) run(ctx context.Context) {
	c.ctx, c.stop = context.WithCancel(ctx)
	unhook := context.AfterFunc(c.ctx, func() { c.conn.Close() })
	c.wg.Go(c.write)
	err := c.handler.readRequests()
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

// write writes the queue to the client, and ends the connection if that fails.
func (c *connection) write() {
	err := c.queue.run(c.conn)
	if c.ctx.Err() == nil {
		c.log.Warn("write to the client failed", "error", err)
	}
	c.stop()
}

// addToBacklog adds a copy of a request to the backlog. The caller holds c.mu.
func (c *connection) addToBacklog(body []byte) error {
	c.backlogSize += len(body)
	if c.backlogSize > maxBacklog {
		return fmt.Errorf("over %d bytes of requests before the attach finished", maxBacklog)
	}
	c.backlog = append(c.backlog, slices.Clone(body))
	return nil
}

// takeBacklog returns and empties the backlog. The caller holds c.mu.
func (c *connection) takeBacklog() [][]byte {
	backlog := c.backlog
	c.backlog, c.backlogSize = nil, 0
	return backlog
}

// startAttach starts an attach and returns at once. name is the client's, for
// display. The caller holds c.mu.
func (c *connection) startAttach(name string, p Protocol) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	h := &holder{name: name + " (" + peerName(c.conn) + ")", conn: c, protocol: p, evict: c.evict}
	a := &attempt{cancel: cancel, done: make(chan struct{}), holder: h}
	c.phase, c.attempt = phaseAttaching, a
	c.wg.Go(func() {
		defer close(a.done)
		defer cancel(nil)
		c.handler.attach(ctx, h)
	})
}

// dial waits for the slot and makes the node attach. If it fails, the target and the
// slot are left as they were.
func (c *connection) dial(ctx context.Context, h *holder, o DialOptions) (Session, error) {
	if err := c.srv.slot.acquire(ctx, h, c.srv.cfg.Takeover); err != nil {
		return nil, err
	}
	sess, err := c.srv.cfg.Dialer.Dial(ctx, o)
	if err != nil {
		c.srv.slot.release(h)
		return nil, err
	}
	return sess, nil
}

// explainAttachFailure logs err, with which an attach failed, and returns the error to
// report to the client: the reason why the attach was canceled, if it was, or else err.
func (c *connection) explainAttachFailure(ctx context.Context, err error) error {
	c.log.Warn("attach failed", "error", err)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// startSession starts relaying between the client and the node, which reads
// requests from toNode. The target is halted. The caller holds c.mu.
func (c *connection) startSession(sess Session, toNode *queue) {
	c.sess, c.toNode, c.phase = sess, toNode, phaseAttached
	c.halts.target, c.halts.notify = sess.Target().Name, c.handler.notify
	c.halts.markHalted()
	c.wg.Go(func() { c.endAfter(c.handler.relayNode()) })
	c.wg.Go(func() { c.endAfter(toNode.run(sess)) })
}

// endAfter ends the session after an error on the node's stream and tells the client,
// unless the session has already ended.
func (c *connection) endAfter(err error) {
	if c.ctx.Err() != nil {
		return // run ends it
	}
	reason := errors.New("the node ended the session")
	first, endErr := c.finish(reason)
	if !first {
		return
	}
	if err == io.EOF || err == errTerminated {
		err = nil
	}
	if endErr != nil {
		reason = endErr
	}
	c.handler.announceEnd(errorText(reason), err)
	c.handler.reportEnd()
}

// evict ends the session because another client, by, takes over.
func (c *connection) evict(by string) {
	c.wg.Go(func() {
		c.handler.announceEnd(by+" takes over the session", nil)
		if first, _ := c.finish(fmt.Errorf("%s took over the session", by)); first {
			c.handler.reportEnd()
		}
	})
}

// finish ends the session on the node, or cancels the attach under way, and frees the
// slot. The client gets why as the reason. Several goroutines may call it; each call
// returns when the session has ended. Only the call that ended it returns true, and the
// error of ending it.
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
		c.handler.refuseWaiting(why)
		close(c.ended)
	case sess != nil:
		<-c.ended
	}
	return first, err
}

// endSession ends a session on the node and frees the slot.
func (c *connection) endSession(sess Session, h *holder) error {
	c.srv.slot.leave(h)
	defer c.srv.slot.release(h)
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	err := sess.End(ctx)
	if err != nil {
		c.log.Error("cannot end the session", "error", err)
	}
	return err
}
