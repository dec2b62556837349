package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// rpcClient is one connection of a client of Delve's JSON-RPC: GoLand, or dlv
// connect. It lives as [client] does: its run goroutine reads the client and
// never waits for what it writes. The node attaches at the first request that
// may reach it.
type rpcClient struct {
	srv  *Server
	conn net.Conn
	in   *valueReader
	out  *queue
	log  *slog.Logger
	halt haltWatch
	wg   sync.WaitGroup // everything but run
	ctx  context.Context
	stop context.CancelFunc // ends ctx: the client is going

	gone chan struct{} // closed when the session has ended on the node

	mu         sync.Mutex
	state      state // fresh, attaching, attached, ended
	backlog    [][]byte
	backlogged int
	attempt    *attempt
	up         *rpcUpstream // from the attach's success on
	over       error        // why the session ended, for what is asked after it
}

// maxRPCRequest is the largest request of a client's, in bytes.
const maxRPCRequest = 4 << 20

// farewell is how long a connection stays open after its session has ended by
// itself: what a client asks meanwhile is answered by the reason, which clients
// show, where some keep a closed connection to themselves.
const farewell = time.Second

func newRPCClient(s *Server, conn net.Conn, log *slog.Logger) *rpcClient {
	c := &rpcClient{
		srv: s, conn: conn, log: log,
		in:  newValueReader(conn, maxRPCRequest),
		out: newQueue(), gone: make(chan struct{}),
	}
	c.out.now = writerNow(conn)
	return c
}

// run serves the connection until the client or ctx ends it. On return the
// session is over and every goroutine has ended.
func (c *rpcClient) run(ctx context.Context) {
	c.ctx, c.stop = context.WithCancel(ctx)
	unhook := context.AfterFunc(c.ctx, func() { c.conn.Close() })
	c.wg.Go(c.write)
	err := c.read()
	if err == errDone {
		c.conn.SetWriteDeadline(time.Now().Add(lastWords))
		c.out.drain()
	} else if err != io.EOF && c.ctx.Err() == nil {
		c.log.Warn("connection closed", "error", err)
	}
	c.stop()
	unhook()
	c.finish(errOver)
	c.out.stop(errOver)
	c.conn.Close()
	c.wg.Wait()
}

// write writes to the client. One that can't be told anything is gone.
func (c *rpcClient) write() {
	err := c.out.run(c.conn)
	if c.ctx.Err() == nil {
		c.log.Warn("writing to the client", "error", err)
	}
	c.stop()
}

func (c *rpcClient) read() error {
	for {
		body, err := c.in.read()
		if err != nil {
			return err
		}
		env, err := scanRPC(body)
		if err != nil {
			return fmt.Errorf("a message that is none: %w", err)
		}
		if env.method == (span{}) {
			return errors.New("a message that is no request")
		}
		if err := c.request(body, env); err != nil {
			return err
		}
	}
}

// request handles one request. body is valid until it returns.
func (c *rpcClient) request(body []byte, env rpcEnvelope) error {
	name, ok := strings.CutPrefix(env.Method, "RPCServer.")
	why, known := rpcMethod(name)
	if !ok || !known {
		return c.refuse(env.ID, errNoMethod(env.Method))
	}
	if why == "" {
		why = forbiddenParams(name, body, env)
	}
	if why != "" {
		return c.refuse(env.ID, errors.New(why))
	}
	switch name {
	case "Detach":
		return c.onDetach(body, env)
	case "GuessSubstitutePath": // the client would map on top of us
		return c.answer(env.ID, struct{ List [][2]string }{}, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case attached:
		return c.forward(body, env)
	case ended:
		return c.refuse(env.ID, c.over)
	case fresh:
		c.startAttach()
	}
	c.backlogged += len(body)
	if c.backlogged > maxBacklog {
		return fmt.Errorf("more than %d bytes of requests before the attach is done", maxBacklog)
	}
	c.backlog = append(c.backlog, slices.Clone(body))
	return nil
}

// forward relays a request to the node. The caller has c.mu and an upstream.
func (c *rpcClient) forward(body []byte, env rpcEnvelope) error {
	resumes := rpcResumes(strings.TrimPrefix(env.Method, "RPCServer."), body, env)
	if resumes {
		c.halt.resumed()
	}
	if err := c.up.send(body, env, resumes); err != nil {
		return c.refuse(env.ID, err)
	}
	return nil
}

func (c *rpcClient) answer(id string, result any, err error) error {
	_, writeErr := c.out.Write(rpcAnswer(id, result, err))
	return writeErr
}

func (c *rpcClient) refuse(id string, err error) error { return c.answer(id, nil, err) }

// onDetach ends the session. The target lives on, whatever the client asked.
func (c *rpcClient) onDetach(body []byte, env rpcEnvelope) error {
	var in struct{ Kill bool }
	if err := env.decodeParams(body, &in); err != nil || in.Kill {
		c.log.Warn("the client asks for the end of the target, which belongs to the node: the debugger detaches and it runs on")
	}
	_, err := c.finish(errors.New("the client ended the session"))
	c.answer(env.ID, struct{}{}, err)
	return errDone
}

// startAttach has the node attach, and returns at once. The caller has c.mu.
func (c *rpcClient) startAttach() {
	ctx, giveUp := context.WithCancelCause(c.ctx)
	a := &attempt{
		giveUp: giveUp,
		done:   make(chan struct{}),
		seat:   &holder{name: "a Delve client (" + peerName(c.conn) + ")", evict: c.evict},
	}
	c.state, c.attempt = attaching, a
	c.wg.Go(func() {
		defer close(a.done)
		defer giveUp(nil)
		if err := c.attach(ctx, a.seat); err != nil {
			c.attachFailed(ctx, err)
		}
	})
}

// attach waits for the slot, has the node attach, and hands it what the client
// has asked so far. On an error the target is as before.
func (c *rpcClient) attach(ctx context.Context, seat *holder) error {
	if err := c.srv.slot.acquire(ctx, seat, c.srv.cfg.Takeover); err != nil {
		return err
	}
	sess, err := c.srv.cfg.Dialer.Dial(ctx, RPC)
	if err != nil {
		c.srv.slot.release(seat)
		return err
	}
	if err := c.begin(ctx, newRPCUpstream(sess)); err != nil {
		return errors.Join(err, c.end(sess, seat))
	}
	return nil
}

func (c *rpcClient) begin(ctx context.Context, up *rpcUpstream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.up, c.state = up, attached
	c.halt.target, c.halt.tell = up.sess.Target().Name, func(line string) { c.log.Warn(line) }
	c.halt.halted()
	c.wg.Go(func() { c.relayNode(up) })
	c.wg.Go(func() { c.lostNode(up.queue.run(up.sess)) })
	for _, late := range c.backlog {
		if env, err := scanRPC(late); err == nil {
			c.forward(late, env)
		}
	}
	c.backlog = nil
	return nil
}

// attachFailed answers what has been asked, unless the client is going.
func (c *rpcClient) attachFailed(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		c.log.Warn("attach failed", "error", err)
		if why := context.Cause(ctx); why != nil {
			err = why
		}
	}
	for _, late := range c.backlog {
		if env, scanErr := scanRPC(late); scanErr == nil {
			c.refuse(env.ID, err)
		}
	}
	c.backlog = nil
	c.ended(err)
}

// ended makes err the answer to all that the client asks, until it goes or the
// connection is closed. The caller has c.mu.
func (c *rpcClient) ended(err error) {
	c.state, c.over = ended, err
	time.AfterFunc(farewell, c.stop)
}

// finish ends the session on the node, if there is one, or the attach under
// way, as [client.finish] does. What the node has not answered yet is answered
// by why.
func (c *rpcClient) finish(why error) (first bool, err error) {
	c.mu.Lock()
	for c.state == attaching {
		a := c.attempt
		c.srv.slot.leave(a.seat)
		a.giveUp(why)
		c.mu.Unlock()
		<-a.done
		c.mu.Lock()
	}
	first = c.state == attached
	if first || c.over == nil {
		c.over = why
	}
	c.state = ended
	up, a := c.up, c.attempt
	c.mu.Unlock()
	c.halt.stop()
	switch {
	case first:
		err = c.end(up.sess, a.seat)
		up.queue.stop(errOver)
		if err != nil {
			why = err
		}
		for _, id := range up.forget() {
			c.refuse(id, why)
		}
		close(c.gone)
	case up != nil:
		<-c.gone
	}
	return first, err
}

// end ends a session on the node and leaves the slot.
func (c *rpcClient) end(sess Session, seat *holder) error {
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

// evict ends the session for another client.
func (c *rpcClient) evict(by string) {
	c.wg.Go(func() { c.lose(fmt.Errorf("%s took over the session", by)) })
}

// lose ends the session for a reason that is not the client's own.
func (c *rpcClient) lose(why error) {
	first, err := c.finish(why)
	if !first {
		return
	}
	if err != nil {
		why = err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended(why)
}

// rpcUpstream is a session on the node as an rpcClient uses it. What it sends
// waits in its queue, so that a node that does not read holds up nobody.
type rpcUpstream struct {
	sess  Session
	m     *pathmap.Map
	queue *queue

	mu      sync.Mutex
	pending map[string][]bool // whether it resumes, for each request that the node has not answered, by its id
	mp      []byte            // buffer for a mapped request

	back []byte // buffer for a mapped answer; its reader's alone
}

func newRPCUpstream(sess Session) *rpcUpstream {
	return &rpcUpstream{sess: sess, m: sess.Map(), queue: newQueue(), pending: map[string][]bool{}}
}

// send relays a request to the node, with the paths that the node knows. An
// error says why it can't be sent.
func (u *rpcUpstream) send(body []byte, env rpcEnvelope, resumes bool) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if waiting := u.queue.size(); waiting > maxBacklog {
		return fmt.Errorf("the debugger takes no more requests: %d bytes of them wait", waiting)
	}
	out, changed := u.m.RewriteRPC(u.mp[:0], body, pathmap.ToNode)
	if changed > 0 {
		if u.mp = out; cap(out) > keepBuffer {
			u.mp = nil
		}
		mapped, err := scanRPC(out)
		if err != nil {
			return err
		}
		out = mapped.withoutParam(out, "SubstitutePathRules") // else Delve would map too
	}
	if _, err := u.queue.Write(out); err != nil { // values need nothing between them
		return err
	}
	u.pending[env.ID] = append(u.pending[env.ID], resumes)
	return nil
}

// answered forgets the request that an answer of the node's is for.
func (u *rpcUpstream) answered(id string) (resumed, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch waiting := u.pending[id]; len(waiting) {
	case 0:
		return false, false
	case 1:
		delete(u.pending, id)
		return waiting[0], true
	default:
		u.pending[id] = waiting[1:]
		return waiting[0], true
	}
}

// forget returns the ids of what the node has not answered, and forgets them.
func (u *rpcUpstream) forget() (ids []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, waiting := range u.pending {
		for range waiting {
			ids = append(ids, id)
		}
	}
	clear(u.pending)
	return ids
}

// relayNode relays the node's answers to the client until the session ends.
func (c *rpcClient) relayNode(up *rpcUpstream) {
	in := newValueReader(up.sess, c.srv.cfg.MaxBody)
	for {
		body, err := in.read()
		if err == nil {
			err = c.fromNode(up, body)
		}
		if err != nil {
			c.lostNode(err)
			return
		}
	}
}

// fromNode relays one message of the node's with the host's paths. Only answers
// to requests pass.
func (c *rpcClient) fromNode(up *rpcUpstream, body []byte) error {
	env, err := scanRPC(body)
	if err != nil {
		return fmt.Errorf("a message that is none: %w", err)
	}
	resumed, ok := up.answered(env.ID)
	if !ok || env.method != (span{}) {
		c.log.Warn("dropped a message that nobody asked for", "id", env.ID)
		return nil
	}
	if resumed {
		c.halt.halted()
	}
	line, changed := up.m.RewriteRPC(up.back[:0], body, pathmap.ToHost)
	if changed == 0 {
		line = append(up.back[:0], body...)
	}
	line = append(line, '\n') // as Delve ends it
	if up.back = line; cap(line) > keepBuffer {
		up.back = nil
	}
	if err := c.out.room(); err != nil {
		return err
	}
	_, err = c.out.Write(line)
	return err
}

// lostNode ends the session for the client after an error of its stream, unless
// it is over already.
func (c *rpcClient) lostNode(err error) {
	if c.ctx.Err() != nil {
		return // run ends it
	}
	if err != io.EOF {
		c.log.Debug("the node's stream", "error", err)
	}
	c.lose(errors.New("the node ended the session"))
}
