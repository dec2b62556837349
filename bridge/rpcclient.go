package bridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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
	up *rpcUpstream // set when the attach succeeds; under the connection's mutex
}

// maxRPCRequest bounds a request, in bytes.
const maxRPCRequest = 4 << 20

// closeDelay is how long a connection stays open after its session has ended although
// the client did not ask for that. Until then, every request is answered with the
// reason: clients show that, but some do not report a closed connection.
const closeDelay = time.Second

func newRPCClient(s *Server, conn net.Conn, log *slog.Logger) *rpcClient {
	c := &rpcClient{in: newRequestReader(conn, maxRPCRequest)}
	c.open(s, conn, c, log)
	return c
}

// readRequests implements [protocolHandler].
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

// handleRequest handles one request. It must not retain body.
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
	case "GuessSubstitutePath": // the client would map paths again
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
		c.startAttach("a Delve client", RPC)
	}
	return c.addToBacklog(body)
}

// forward relays a request to the node. The caller holds c.mu; c.up is set.
func (c *rpcClient) forward(body []byte, env rpcEnvelope) error {
	p := describeRPC(strings.TrimPrefix(env.Method, "RPCServer."), body, env)
	if p.resumes {
		c.halts.markRunning()
	}
	if err := c.up.send(body, env, p); err != nil {
		return c.refuse(env.ID, err)
	}
	if env.Method == "RPCServer.CreateBreakpoint" {
		c.warnIfStale(body, env)
	}
	return nil
}

// warnIfStale logs once that the file of a new breakpoint is not what the target
// was built from: this protocol cannot carry such a warning. The caller holds c.mu;
// c.up is set.
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
		if <-v.done; v.text != "" && !s.alreadyReported(v.text) {
			c.log.Warn(v.text)
		}
	})
}

func (c *rpcClient) answer(id string, result any, err error) error {
	_, writeErr := c.queue.Write(rpcAnswer(id, result, err))
	return writeErr
}

func (c *rpcClient) refuse(id string, err error) error { return c.answer(id, nil, err) }

// handleDetach ends the session. The target keeps running, whatever the client
// asked for.
func (c *rpcClient) handleDetach(body []byte, env rpcEnvelope) error {
	var in struct{ Kill bool }
	if err := env.decodeParams(body, &in); err != nil || in.Kill {
		c.log.Warn("the client asked to kill the target, which belongs to the node: the debugger detaches and the target keeps running")
	}
	_, err := c.finish(errors.New("the client ended the session"))
	c.answer(env.ID, struct{}{}, err)
	return errDone
}

// attach implements [protocolHandler].
func (c *rpcClient) attach(ctx context.Context, h *holder) {
	if err := c.tryAttach(ctx, h); err != nil {
		c.refuseAttach(ctx, err)
	}
}

// tryAttach dials and starts the session. If it fails, the target is left as it was.
func (c *rpcClient) tryAttach(ctx context.Context, h *holder) error {
	sess, err := c.dial(ctx, h, DialOptions{Protocol: RPC})
	if err != nil {
		return err
	}
	up, err := newRPCUpstream(sess)
	if err == nil {
		up.stale = newStaleChecker(c.ctx, &c.wg, sess)
		err = c.handOver(ctx, up)
	}
	if err != nil {
		return errors.Join(err, c.endSession(sess, h))
	}
	return nil
}

// handOver starts the session and sends the backlog.
func (c *rpcClient) handOver(ctx context.Context, up *rpcUpstream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.up = up
	c.startSession(up.sess, up.queue)
	for _, body := range c.takeBacklog() {
		if env, err := scanRPC(body); err == nil {
			c.forward(body, env)
		}
	}
	return nil
}

// refuseAttach answers the requests so far, and all later ones, with the failure.
func (c *rpcClient) refuseAttach(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		err = c.explainAttachFailure(ctx, err)
	}
	for _, body := range c.takeBacklog() {
		if env, scanErr := scanRPC(body); scanErr == nil {
			c.refuse(env.ID, err)
		}
	}
	c.phase, c.endReason = phaseEnded, err
	c.closeLater()
}

func (c *rpcClient) closeLater() { time.AfterFunc(closeDelay, c.stop) }

// refuseWaiting implements [protocolHandler]. Later requests are refused likewise.
func (c *rpcClient) refuseWaiting(why error) {
	c.mu.Lock()
	up := c.up
	c.endReason = why
	c.mu.Unlock()
	for _, id := range up.takeAllPending() {
		c.refuse(id, why)
	}
}

// notify implements [protocolHandler]. The protocol cannot carry messages to the user,
// so they go to the log.
func (c *rpcClient) notify(line string) { c.log.Warn(line) }

// announceEnd implements [protocolHandler]. The client learns of the end by the answers to
// its requests; an ordinary end is no warning for `dapbridge status`.
func (c *rpcClient) announceEnd(why string, err error) {
	c.log.Debug("the session ends", "reason", why, "error", err)
}

// reportEnd implements [protocolHandler].
func (c *rpcClient) reportEnd() { c.closeLater() }

// rpcUpstream is the node's side of an rpcClient's session. Requests go through a
// queue, so that a node that does not read blocks nobody.
type rpcUpstream struct {
	sess   Session
	queue  *queue
	paths  *pathmap.Rewriter
	keeper *sourceKeeper // nil if the host's files are not checked for being missing
	stale  *staleChecker // nil if they are not checked for being stale

	noVariables string // see TargetInfo

	mu      sync.Mutex
	pending map[string][]rpcPending // by id
	mapped  []byte                  // buffer for a mapped request

	// Used by relayNode alone:
	edits  pathmap.Edits
	answer []byte // buffer for an answer with host paths
}

// rpcPending is a request that the node has not answered yet.
type rpcPending struct {
	resumes bool // it resumes the target
	isValue bool // it asks for the value of an expression
}

func newRPCUpstream(sess Session) (*rpcUpstream, error) {
	k := newSourceKeeper(sess.Sources())
	paths, err := k.rewriter(sess.Map())
	return &rpcUpstream{sess: sess, noVariables: sess.Target().NoVariables, queue: newQueue(), paths: paths, keeper: k, pending: map[string][]rpcPending{}}, err
}

// send relays a request to the node, with node paths. It does not block.
func (u *rpcUpstream) send(body []byte, env rpcEnvelope, p rpcPending) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if waiting := u.queue.size(); waiting > maxBacklog {
		return fmt.Errorf("the debugger does not read its requests: %d bytes are waiting", waiting)
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
		out = mapped.withoutParam(out, "SubstitutePathRules") // or Delve would map paths too
	}
	if _, err := u.queue.Write(out); err != nil { // JSON values need no separator
		return err
	}
	u.pending[env.ID] = append(u.pending[env.ID], p)
	return nil
}

// takePending removes and returns the oldest pending request with that id, and reports
// whether there was one.
func (u *rpcUpstream) takePending(id string) (p rpcPending, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch waiting := u.pending[id]; len(waiting) {
	case 0:
		return rpcPending{}, false
	case 1:
		delete(u.pending, id)
		return waiting[0], true
	default:
		u.pending[id] = waiting[1:]
		return waiting[0], true
	}
}

// takeAllPending removes all pending requests and returns their ids.
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

// relayNode implements [protocolHandler].
func (c *rpcClient) relayNode() error {
	in := newLineReader(c.up.sess, c.srv.cfg.MaxBody)
	for {
		body, err := in.read()
		if err != nil {
			return err
		}
		if err := c.handleNodeMessage(c.up, body); err != nil {
			return err
		}
	}
}

// handleNodeMessage relays one message from the node with host paths. Only answers to
// pending requests are relayed.
func (c *rpcClient) handleNodeMessage(up *rpcUpstream, body []byte) error {
	up.keeper.refresh()
	env, err := readRPC(up.paths, &up.edits, body)
	if err != nil {
		return fmt.Errorf("malformed message: %w", err)
	}
	p, ok := up.takePending(env.ID)
	if !ok || env.method != (span{}) {
		c.log.Warn("dropped an unexpected answer", "id", env.ID)
		return nil
	}
	if p.resumes {
		c.halts.markHalted()
	}
	if p.isValue && up.noVariables != "" && env.hasError(body) {
		return c.refuse(env.ID, errors.New(up.noVariables))
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
	up.answer = append(up.edits.Apply(up.answer[:0], body), '\n') // as Delve ends an answer
	_, err = c.queue.Write(up.answer)
	return err
}

// relayLarge writes an answer to the client straight from the read buffer, bypassing
// the queue.
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
