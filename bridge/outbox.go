package bridge

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// queue holds bytes for a peer that may not be reading. There are three ways to write to
// the peer, because a relay must neither block on it nor copy large messages:
//
//   - Write sends what the system accepts at once (tryWrite), if nothing is queued. So
//     the usual small message costs no switch to another goroutine.
//   - What is left over is queued, and run writes it. So Write never blocks, and a peer
//     that does not read holds up only callers that ask to wait: waitRoom, waitIdle.
//   - A caller with a large message claims the queue while it is idle and writes to the
//     peer directly. So the message is not copied into the queue, which would double
//     its memory, and the reader of the other side slows down to this peer's speed.
//
// Only one of the three writes at a time, so messages stay whole and in order.
type queue struct {
	// tryWrite writes what it can without blocking and returns how many bytes that
	// was. nil writes nothing.
	tryWrite func(p []byte) int

	mu        sync.Mutex
	cond      sync.Cond // signals changes to the fields below
	buf       []byte
	writes    int   // calls of Write whose bytes are in buf
	isWriting bool  // run is writing bytes taken from buf
	isClaimed bool  // a caller writes to the peer directly
	err       error // why nothing more is written
}

// maxWrites bounds the number of queued writes.
const maxWrites = 1 << 16

var (
	errUnread = errors.New("the peer does not read its messages")
	errEnded  = errors.New("the session has ended")
)

func newQueue() *queue {
	q := &queue{}
	q.cond.L = &q.mu
	return q
}

// Write implements io.Writer. It does not block. An error says why earlier bytes were
// not written.
func (q *queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil && q.writes == maxWrites {
		q.fail(errUnread)
	}
	if q.err != nil {
		return 0, q.err
	}
	rest := p
	if q.tryWrite != nil && q.isIdle() {
		if rest = p[q.tryWrite(p):]; len(rest) == 0 {
			return len(p), nil
		}
	}
	q.buf = append(q.buf, rest...)
	q.writes++
	q.cond.Broadcast()
	return len(p), nil
}

// run writes queued bytes to w until stop is called or w fails, and returns the reason.
func (q *queue) run(w io.Writer) error {
	var out []byte
	for {
		var err error
		if out, err = q.take(out); err != nil {
			return err
		}
		if _, err := w.Write(out); err != nil {
			q.stop(err)
		}
	}
}

// take waits for queued bytes and returns them; spare becomes the queue's buffer.
func (q *queue) take(spare []byte) ([]byte, error) {
	if cap(spare) > keepBuffer {
		spare = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isWriting = false
	q.cond.Broadcast()
	for (len(q.buf) == 0 || q.isClaimed) && q.err == nil {
		q.cond.Wait()
	}
	if q.err != nil {
		return nil, q.err
	}
	out := q.buf
	q.buf, q.writes, q.isWriting = spare[:0], 0, true
	q.cond.Broadcast()
	return out, nil
}

// stop makes run, and every Write from now on, return err. It does not interrupt a
// write under way.
func (q *queue) stop(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail(err)
}

// fail is like stop, for callers that hold q.mu.
func (q *queue) fail(err error) {
	if q.err == nil {
		q.err, q.buf = err, nil
		q.cond.Broadcast()
	}
}

// waitRoom blocks until at most keepBuffer bytes are queued.
func (q *queue) waitRoom() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.buf) > keepBuffer && q.err == nil {
		q.cond.Wait()
	}
	return q.err
}

// isIdle reports whether nothing is queued and nobody writes. The caller holds q.mu.
func (q *queue) isIdle() bool { return len(q.buf) == 0 && !q.isWriting && !q.isClaimed }

// waitIdle blocks until everything is written, and fails if it cannot be.
func (q *queue) waitIdle() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.isIdle() && q.err == nil {
		q.cond.Wait()
	}
	return q.err
}

// claim makes the caller the only writer to the peer until release. What others Write
// in the meantime is queued. It reports false if the queue is not idle.
func (q *queue) claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isIdle() || q.err != nil {
		return false
	}
	q.isClaimed = true
	return true
}

// release ends a claim. If err, the error of the caller's writes, is not nil, the
// queue stops.
func (q *queue) release(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isClaimed = false
	if err != nil {
		q.fail(err)
	}
	q.cond.Broadcast()
}

// size returns the number of queued bytes.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.buf)
}

// outbox numbers and sends messages to the IDE: the node's and the bridge's own. It is
// safe for concurrent use; messages are sent in the order of the calls. Only relay
// blocks on an IDE that does not read.
type outbox struct {
	queue *queue
	conn  io.Writer // the queue's peer

	mu  sync.Mutex
	w   *frameWriter
	seq int64
	buf []byte
}

// newOutbox returns an outbox that sends through q, whose peer is conn.
func newOutbox(q *queue, conn io.Writer) *outbox {
	return &outbox{queue: q, conn: conn, w: newFrameWriter(q)}
}

// relay sends a message from the node with the next number. A request_seq becomes
// requestSeq.
func (o *outbox) relay(in nodeMessage, requestSeq int64) error {
	if len(in.body) >= largeMessage {
		return o.relayLarge(in, requestSeq)
	}
	if err := o.queue.waitRoom(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	in.addNumbers(o.seq, requestSeq)
	o.buf = in.edits.Apply(o.buf[:0], in.body)
	return o.w.write(o.buf)
}

// relayLarge writes the message straight from the read buffer, bypassing the queue.
func (o *outbox) relayLarge(in nodeMessage, requestSeq int64) error {
	seq, err := o.waitClaim()
	if err != nil {
		return err
	}
	in.addNumbers(seq, requestSeq)
	w := bufio.NewWriterSize(o.conn, largeWriteSize)
	w.Write(appendHeader(w.AvailableBuffer(), in.edits.Size(in.body)))
	in.edits.WriteEdited(w, in.body) // Flush returns its error
	err = w.Flush()
	o.queue.release(err)
	return err
}

// waitClaim claims the queue once it is idle, and returns the number of the message
// that follows.
func (o *outbox) waitClaim() (seq int64, err error) {
	for {
		if err := o.queue.waitIdle(); err != nil {
			return 0, err
		}
		if seq, ok := o.tryClaim(); ok {
			return seq, nil
		}
	}
}

// tryClaim claims the queue and takes a number in one step, so that no other
// goroutine's message comes in between.
func (o *outbox) tryClaim() (seq int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.queue.claim() {
		return 0, false
	}
	o.seq++
	return o.seq, true
}

// message is one of the bridge's own messages (DAP, Base Protocol).
type message struct {
	Seq        int64  `json:"seq"`
	Type       string `json:"type"`
	RequestSeq *int64 `json:"request_seq,omitempty"` // nil if not a response; 0 is a valid number
	Success    *bool  `json:"success,omitempty"`
	Command    string `json:"command,omitempty"`
	Message    string `json:"message,omitempty"`
	Event      string `json:"event,omitempty"`
	Body       any    `json:"body,omitempty"`
}

func (o *outbox) send(m message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	m.Seq = o.seq
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return o.w.write(body)
}

// respond sends the successful response to a request from the IDE.
func (o *outbox) respond(env envelope, body any) error {
	ok := true
	return o.send(message{Type: "response", RequestSeq: &env.Seq, Success: &ok, Command: env.Command, Body: body})
}

// refuse answers a request from the IDE with an error that the IDE shows (DAP,
// ErrorResponse). The text of err may come from the node.
func (o *outbox) refuse(env envelope, err error) error { return o.sendError(env, err, true) }

// refuseQuietly is refuse for an error that the IDE shows only where the request came
// from: an expression may be evaluated wherever the mouse points.
func (o *outbox) refuseQuietly(env envelope, err error) error { return o.sendError(env, err, false) }

func (o *outbox) sendError(env envelope, err error, showUser bool) error {
	ok := false
	text := errorText(err)
	return o.send(message{
		Type: "response", RequestSeq: &env.Seq, Success: &ok, Command: env.Command, Message: text,
		Body: map[string]any{"error": map[string]any{"id": refusedID, "format": text, "showUser": showUser}},
	})
}

// refusedID is the id of the bridge's errors. Delve's are from 1000 to 9999
// (service/dap/error_ids.go).
const refusedID = 10000

func (o *outbox) event(name string, body any) error {
	return o.send(message{Type: "event", Event: name, Body: body})
}

// console prints one line in the IDE's debug console.
func (o *outbox) console(line string) error {
	return o.event("output", map[string]any{"category": "console", "output": "dapbridge: " + line + "\n"})
}

// errorText returns err with its hint, as one line for display.
func errorText(err error) string {
	text := err.Error()
	if hint := diag.Hint(err); hint != "" {
		text += " (" + hint + ")"
	}
	return diag.Escape(text)
}
