package bridge

import (
	"fmt"
	"sync"

	"github.com/dapbridge/dapbridge/pathmap"
)

// delveMaxBody is the largest request that Delve reads (go-dap,
// contentMaxLength); a larger one would end the session.
const delveMaxBody = 4 << 20

// upstream is a session on the node as a client uses it: it numbers requests
// and remembers who asked, so that only answers to them come back. What it
// sends waits in its queue, so that a node that does not read holds up nobody.
type upstream struct {
	sess  Session
	queue *queue

	paths   *pathmap.Rewriter
	missing *missingSources // nil if the host is taken to lack nothing
	stale   *staleChecker   // nil if nothing is known of its files

	mu                 sync.Mutex
	w                  *frameWriter
	seq                int64
	pending            map[int64]pendingRequest // by the number that the node sees
	renumbered, mapped []byte                   // buffers: the renumbered message, the mapped one

	edits pathmap.Edits // of a message of the node's; its reader's alone
}

// pending is a request that the node has not answered yet.
type pendingRequest struct {
	seq        int64    // the client's number; unused for the bridge's own
	command    string   // the client's command, which the node may know as another
	fromBridge bool     // the bridge asked: the answer is for nobody else
	isMapped   bool     // the request is the bridge's to write: no path in it is mapped
	isValue    bool     // the answer is a value of the target's, see [pathmap.Rewriter.ToHost]
	verdict    *verdict // on the file that breakpoints are set in; nil: none is sought
}

func newUpstream(sess Session, m *pathmap.Map, form pathmap.Client) *upstream {
	q, l := newQueue(), newMissingSources(sess)
	return &upstream{sess: sess, paths: l.rewriter(m, form), missing: l, queue: q, w: newFrameWriter(q), pending: map[int64]pendingRequest{}}
}

// send relays a request to the node, with the paths that the node knows. An
// error says why it can't be sent.
func (u *upstream) send(body []byte, env envelope, p pendingRequest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if waiting := u.queue.size(); waiting > maxBacklog {
		return fmt.Errorf("the debugger takes no more requests: %d bytes of them wait", waiting)
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
		return fmt.Errorf("a request of %d bytes; Delve accepts %d", len(out), delveMaxBody)
	}
	if err := u.w.write(out); err != nil {
		return err
	}
	u.pending[u.seq] = p
	return nil
}

// sendScanned sends a request whose envelope is not at hand.
func (u *upstream) sendRequest(body []byte, p pendingRequest) error {
	env, err := scanEnvelope(body)
	if err != nil {
		return err
	}
	return u.send(body, env, p)
}

// trim lets go of large buffers.
func (u *upstream) dropLargeBuffers() {
	if cap(u.renumbered) > keepBuffer {
		u.renumbered = nil
	}
	if cap(u.mapped) > keepBuffer {
		u.mapped = nil
	}
}

// answered returns the request that a response of the node's answers, and
// forgets it.
func (u *upstream) takePending(env envelope) (pendingRequest, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, ok := u.pending[env.RequestSeq]
	delete(u.pending, env.RequestSeq)
	return p, ok
}

// answer sends the bridge's own answer to a request of the node's.
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
