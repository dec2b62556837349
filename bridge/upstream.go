package bridge

import (
	"fmt"
	"sync"

	"github.com/dapbridge/dapbridge/pathmap"
)

// delveMaxBody is the largest request that Delve reads (go-dap,
// contentMaxLength), in bytes; a larger one would end the session.
const delveMaxBody = 4 << 20

// upstream is the node's side of a dapClient's session. It numbers requests and
// records them, so that only responses to them are relayed. Requests go through a
// queue, so that a node that does not read blocks nobody.
type upstream struct {
	sess  Session
	queue *queue

	paths   *pathmap.Rewriter
	missing *missingSources // nil if the host's files are not checked for being missing
	stale   *staleChecker   // nil if they are not checked for being stale

	noVariables string // see TargetInfo

	mu                 sync.Mutex
	w                  *frameWriter
	seq                int64
	pending            map[int64]pendingRequest // by the number that the node gets
	renumbered, mapped []byte                   // buffers

	edits pathmap.Edits // used by relayNode alone
}

// pendingRequest is a request that the node has not answered yet.
type pendingRequest struct {
	seq        int64    // the client's number; unused if fromBridge
	command    string   // the client's; the node may have received another
	fromBridge bool     // the response does not go to the client
	isMapped   bool     // the request has no paths left to map
	isValue    bool     // the result is one of the target's values, see [pathmap.Edits.DropResults]
	verdict    *verdict // on the file of breakpoints; nil if it is not checked
}

func newUpstream(sess Session, m *pathmap.Map, form pathmap.Client) *upstream {
	q, l := newQueue(), newMissingSources(sess)
	return &upstream{sess: sess, paths: l.rewriter(m, form), missing: l, noVariables: sess.Target().NoVariables, queue: q, w: newFrameWriter(q), pending: map[int64]pendingRequest{}}
}

// send relays a request to the node, with node paths. It does not block.
func (u *upstream) send(body []byte, env envelope, p pendingRequest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if waiting := u.queue.size(); waiting > maxBacklog {
		return fmt.Errorf("the debugger does not read its requests: %d bytes are waiting", waiting)
	}
	defer u.dropLargeBuffers()
	u.seq++
	u.renumbered = renumber(u.renumbered[:0], body, env, u.seq, 0)
	out := u.renumbered
	if !p.isMapped {
		if mapped, changed := u.paths.ToNode(u.mapped[:0], u.renumbered); changed > 0 {
			out, u.mapped = mapped, mapped
		}
	}
	if env.Command == "setBreakpoints" {
		p.verdict = u.stale.start(out)
	}
	if len(out) > delveMaxBody {
		return fmt.Errorf("the request has %d bytes, and Delve accepts at most %d", len(out), delveMaxBody)
	}
	if err := u.w.write(out); err != nil {
		return err
	}
	u.pending[u.seq] = p
	return nil
}

// sendRequest is like send, for a request that has not been scanned.
func (u *upstream) sendRequest(body []byte, p pendingRequest) error {
	env, err := scanEnvelope(body)
	if err != nil {
		return err
	}
	return u.send(body, env, p)
}

// dropLargeBuffers releases buffers that one large request has grown.
func (u *upstream) dropLargeBuffers() {
	if cap(u.renumbered) > keepBuffer {
		u.renumbered = nil
	}
	if cap(u.mapped) > keepBuffer {
		u.mapped = nil
	}
}

// takePending removes and returns the request that env is the response to.
func (u *upstream) takePending(env envelope) (pendingRequest, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, ok := u.pending[env.RequestSeq]
	delete(u.pending, env.RequestSeq)
	return p, ok
}

// refuseNode sends the bridge's own response to a request from the node.
func (u *upstream) refuseNode(body []byte) error {
	env, err := scanEnvelope(body)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seq++
	return u.w.write(renumber(nil, body, env, u.seq, env.RequestSeq))
}
