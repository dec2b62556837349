package bridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// rpcClient is one connection of a client of Delve's JSON-RPC: GoLand, or dlv
// connect. The node attaches at the first request that may reach it.
type rpcClient struct {
	connection
	in *requestReader
	up *rpcUpstream // from the attach's success on; under the connection's mutex
}

// maxRPCRequest is the largest request of a client's, in bytes.
const maxRPCRequest = 4 << 20

// farewell is how long a connection stays open after its session has ended by
// itself: what a client asks meanwhile is answered by the reason, which clients
// show, where some keep a closed connection to themselves.
const closeDelay = time.Second

func newRPCClient(s *Server, conn net.Conn, log *slog.Logger) *rpcClient {
	c := &rpcClient{in: newRequestReader(conn, maxRPCRequest)}
	c.open(s, conn, log)
	c.left = c.refuseWaiting
	return c
}

// serve serves the client to its end, as [connection.run].
func (c *rpcClient) serve(ctx context.Context) { c.run(ctx, c.readRequests) }

func (c *rpcClient) readRequests() error {
	for {
		body, err := c.in.read()
		if err != nil {
			return err
		}
		env, err := scanRPC(body)
		if err != nil {
			return fmt.Errorf("malformed message: %w", err)
		}
		if env.method == (span{}) {
			return errors.New("the message is not a request")
		}
		if err := c.handleRequest(body, env); err != nil {
			return err
		}
	}
}

// request handles one request. body is valid until it returns.
func (c *rpcClient) handleRequest(body []byte, env rpcEnvelope) error {
	name, ok := strings.CutPrefix(env.Method, "RPCServer.")
	why, known := checkRPCMethod(name)
	if !ok || !known {
		return c.refuse(env.ID, methodNotFound(env.Method))
	}
	if why == "" {
		why = rpcParamsRefusal(name, body, env)
	}
	if why != "" {
		return c.refuse(env.ID, errors.New(why))
	}
	switch name {
	case "Detach":
		return c.handleDetach(body, env)
	case "GuessSubstitutePath": // the client would map on top of us
		return c.answer(env.ID, struct{ List [][2]string }{}, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case phaseAttached:
		return c.forward(body, env)
	case phaseEnded:
		return c.refuse(env.ID, c.endReason)
	case phaseNew:
		seat := &holder{name: "a Delve client (" + peerName(c.conn) + ")", conn: &c.connection, protocol: RPC, evict: c.evict}
		c.startAttach(seat, func(ctx context.Context) error { return c.attach(ctx, seat) }, c.attachFailed)
	}
	return c.addToBacklog(body)
}

// forward relays a request to the node. The caller has c.mu and an upstream.
func (c *rpcClient) forward(body []byte, env rpcEnvelope) error {
	resumes := rpcResumesTarget(strings.TrimPrefix(env.Method, "RPCServer."), body, env)
	if resumes {
		c.halts.markRunning()
	}
	if err := c.up.send(body, env, resumes); err != nil {
		return c.refuse(env.ID, err)
	}
	if env.Method == "RPCServer.CreateBreakpoint" {
		c.warnIfStale(body, env)
	}
	return nil
}

// judge says in the log, once, that the file of a new breakpoint is not what the
// target was built from: this protocol has no place for it. The caller has c.mu
// and an upstream.
func (c *rpcClient) warnIfStale(body []byte, env rpcEnvelope) {
	var in struct {
		Breakpoint struct {
			File string `json:"file"`
		}
	}
	s := c.up.stale
	if s == nil || env.decodeParams(body, &in) != nil || in.Breakpoint.File == "" {
		return
	}
	node, _ := c.up.paths.Map.ToNode(in.Breakpoint.File)
	v := s.startFile(node)
	c.wg.Go(func() {
		if <-v.done; v.text != "" && !s.isReported(v.text) {
			c.log.Warn(v.text)
		}
	})
}

func (c *rpcClient) answer(id string, result any, err error) error {
	_, writeErr := c.queue.Write(rpcAnswer(id, result, err))
	return writeErr
}

func (c *rpcClient) refuse(id string, err error) error { return c.answer(id, nil, err) }

// onDetach ends the session. The target lives on, whatever the client asked.
func (c *rpcClient) handleDetach(body []byte, env rpcEnvelope) error {
	var in struct{ Kill bool }
	if err := env.decodeParams(body, &in); err != nil || in.Kill {
		c.log.Warn("the client asks for the end of the target, which belongs to the node: the debugger detaches and it runs on")
	}
	_, err := c.finish(errors.New("the client ended the session"))
	c.answer(env.ID, struct{}{}, err)
	return errDone
}

// attach has the node attach, and hands it what the client has asked so far. On
// an error the target is as before.
func (c *rpcClient) attach(ctx context.Context, seat *holder) error {
	sess, err := c.dial(ctx, seat, DialOptions{Protocol: RPC})
	if err != nil {
		return err
	}
	up, err := newRPCUpstream(sess)
	if err == nil {
		up.stale = newStaleChecker(c.ctx, &c.wg, sess)
		err = c.handOver(ctx, up)
	}
	if err != nil {
		return errors.Join(err, c.endSession(sess, seat))
	}
	return nil
}

func (c *rpcClient) handOver(ctx context.Context, up *rpcUpstream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.up = up
	c.startSession(up.sess, up.queue, func() { c.relayNode(up) }, c.lostNode, func(line string) { c.log.Warn(line) })
	for _, late := range c.takeBacklog() {
		if env, err := scanRPC(late); err == nil {
			c.forward(late, env)
		}
	}
	return nil
}

// attachFailed answers what has been asked, unless the client is going.
func (c *rpcClient) attachFailed(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		err = c.explainAttachFailure(ctx, err)
	}
	for _, late := range c.takeBacklog() {
		if env, scanErr := scanRPC(late); scanErr == nil {
			c.refuse(env.ID, err)
		}
	}
	c.phase, c.endReason = phaseEnded, err
	c.closeLater()
}

// sayFarewell closes the connection after a while.
func (c *rpcClient) closeLater() { time.AfterFunc(closeDelay, c.stop) }

// refuseWaiting answers what the node has not answered when the session ends,
// and makes why the answer to all that the client asks then.
func (c *rpcClient) refuseWaiting(why error) {
	c.mu.Lock()
	up := c.up
	c.endReason = why
	c.mu.Unlock()
	for _, id := range up.takeAllPending() {
		c.refuse(id, why)
	}
}

// evict ends the session for another client.
func (c *rpcClient) evict(by string) {
	c.wg.Go(func() { c.lose(fmt.Errorf("%s took over the session", by)) })
}

// lose ends the session for a reason that is not the client's own.
func (c *rpcClient) lose(why error) {
	if first, _ := c.finish(why); first {
		c.closeLater()
	}
}

// rpcUpstream is a session on the node as an rpcClient uses it. What it sends
// waits in its queue, so that a node that does not read holds up nobody.
type rpcUpstream struct {
	sess   Session
	queue  *queue
	paths  *pathmap.Rewriter
	keeper *sourceKeeper // nil if the host is taken to lack nothing
	stale  *staleChecker // nil if nothing is known of its files

	mu      sync.Mutex
	pending map[string][]bool // whether it resumes, for each request that the node has not answered, by its id
	mapped  []byte            // buffer for a mapped request

	edits  pathmap.Edits // of an answer; these two its reader's alone
	answer []byte        // the answer, mapped
}

func newRPCUpstream(sess Session) (*rpcUpstream, error) {
	k := newSourceKeeper(sess.Sources())
	paths, err := k.rewriter(sess.Map())
	return &rpcUpstream{sess: sess, queue: newQueue(), paths: paths, keeper: k, pending: map[string][]bool{}}, err
}

// send relays a request to the node, with the paths that the node knows. An
// error says why it can't be sent.
func (u *rpcUpstream) send(body []byte, env rpcEnvelope, resumes bool) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if waiting := u.queue.size(); waiting > maxBacklog {
		return fmt.Errorf("the debugger takes no more requests: %d bytes of them wait", waiting)
	}
	out, changed := u.paths.RPCToNode(u.mapped[:0], body)
	if changed > 0 {
		if u.mapped = out; cap(out) > keepBuffer {
			u.mapped = nil
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
func (u *rpcUpstream) takePending(id string) (resumed, ok bool) {
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
func (u *rpcUpstream) takeAllPending() (ids []string) {
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
	in := newLineReader(up.sess, c.srv.cfg.MaxBody)
	for {
		body, err := in.read()
		if err == nil {
			err = c.handleNodeMessage(up, body)
		}
		if err != nil {
			c.lostNode(err)
			return
		}
	}
}

// fromNode relays one message of the node's with the host's paths. Only answers
// to requests pass.
func (c *rpcClient) handleNodeMessage(up *rpcUpstream, body []byte) error {
	up.keeper.refresh()
	env, err := readRPC(up.paths, &up.edits, body)
	if err != nil {
		return fmt.Errorf("malformed message: %w", err)
	}
	resumed, ok := up.takePending(env.ID)
	if !ok || env.method != (span{}) {
		c.log.Warn("dropped a message that nobody asked for", "id", env.ID)
		return nil
	}
	if resumed {
		c.halts.markHalted()
	}
	if up.keeper.keepWanted(c.ctx) {
		if _, err := readRPC(up.paths, &up.edits, body); err != nil {
			return err
		}
	}
	if len(body) >= largeMessage {
		return c.relayLarge(body, &up.edits)
	}
	if err := c.queue.waitRoom(); err != nil {
		return err
	}
	up.answer = append(up.edits.Apply(up.answer[:0], body), '\n') // as Delve ends it
	_, err = c.queue.Write(up.answer)
	return err
}

// relayLarge writes an answer from where it is, past the queue.
func (c *rpcClient) relayLarge(body []byte, edits *pathmap.Edits) error {
	for !c.queue.claim() {
		if err := c.queue.waitIdle(); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(c.conn, largeWriteSize)
	edits.WriteEdited(w, body) // Flush returns its error
	w.WriteByte('\n')
	err := w.Flush()
	c.queue.release(err)
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
