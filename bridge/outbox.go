package bridge

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// queue is what is to be written to a peer that may not read: only its run, and
// who has claimed the turn, write, so that everybody else waits for the peer by
// room and idle alone.
type queue struct {
	// now writes what it can without waiting, and says how much that was: it
	// spares the usual message the way through run. nil writes nothing.
	tryWrite func(p []byte) int

	mu        sync.Mutex
	cond      sync.Cond // something below has changed
	buf       []byte
	writes    int   // that buf holds
	isWriting bool  // run is writing what it took from buf
	isClaimed bool  // somebody else has claimed the turn
	err       error // why nothing is written any more
}

// maxWrites bounds what may wait in a queue for a peer that does not read.
const maxWrites = 1 << 16

var (
	errUnread = errors.New("the peer does not read what is sent to it")
	errEnded  = errors.New("the session has ended")
)

func newQueue() *queue {
	q := &queue{}
	q.cond.L = &q.mu
	return q
}

// Write implements io.Writer. It does not wait; an error is why earlier bytes
// were not written.
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

// run writes to w until stop or w's first error, and returns why it ended.
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

// take waits for bytes to write and leaves spare in their place.
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

// stop makes run return, and every Write fail, with err. A write that is under
// way ends with its writer.
func (q *queue) stop(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail(err)
}

func (q *queue) fail(err error) {
	if q.err == nil {
		q.err, q.buf = err, nil
		q.cond.Broadcast()
	}
}

// room waits until little is left to write.
func (q *queue) waitRoom() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.buf) > keepBuffer && q.err == nil {
		q.cond.Wait()
	}
	return q.err
}

// quiet reports whether nothing waits and nobody writes. The caller has q.mu.
func (q *queue) isIdle() bool { return len(q.buf) == 0 && !q.isWriting && !q.isClaimed }

// idle waits until all is written, or can't be.
func (q *queue) waitIdle() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.isIdle() && q.err == nil {
		q.cond.Wait()
	}
	return q.err
}

// claim gives the turn to the caller, who writes to the peer by itself until
// release: what is large need not be copied then. What others Write meanwhile
// comes behind it. It reports false if it is not idle.
func (q *queue) claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isIdle() || q.err != nil {
		return false
	}
	q.isClaimed = true
	return true
}

// release gives the turn back. An error of the caller's writing ends the queue.
func (q *queue) release(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isClaimed = false
	if err != nil {
		q.fail(err)
	}
	q.cond.Broadcast()
}

// size is how many bytes wait.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.buf)
}

// outbox numbers and sends messages to the IDE: those of the node, and the
// bridge's own. It may be used by several goroutines; the order of their calls
// is the order on the wire. Only relay waits for an IDE that does not read.
type outbox struct {
	queue *queue
	conn  io.Writer // what the queue is written to

	mu  sync.Mutex
	w   *frameWriter
	seq int64
	buf []byte
}

// newOutbox returns an outbox whose messages go to the client's queue.
func newOutbox(q *queue, conn io.Writer) *outbox {
	return &outbox{queue: q, conn: conn, w: newFrameWriter(q)}
}

// relay sends a message of the node's under the outbox's next number. Its
// request_seq, if it has one, becomes requestSeq.
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

// relayLarge writes the message from where it is, past the queue.
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

// claim waits for the queue's turn and returns the number that goes with it.
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

func (o *outbox) tryClaim() (seq int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.queue.claim() {
		return 0, false
	}
	o.seq++
	return o.seq, true
}

// message is what the bridge itself says to the IDE (DAP, Base Protocol).
type message struct {
	Seq        int64  `json:"seq"`
	Type       string `json:"type"`
	RequestSeq *int64 `json:"request_seq,omitempty"` // of a response; an IDE may count from 0
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

// respond answers a request of the IDE's with success.
func (o *outbox) respond(env envelope, body any) error {
	ok := true
	return o.send(message{Type: "response", RequestSeq: &env.Seq, Success: &ok, Command: env.Command, Body: body})
}

// refuse answers a request of the IDE's with an error that the IDE shows (DAP,
// ErrorResponse). Its text may come from the node.
func (o *outbox) refuse(env envelope, err error) error {
	ok := false
	text := errorText(err)
	return o.send(message{
		Type: "response", RequestSeq: &env.Seq, Success: &ok, Command: env.Command, Message: text,
		Body: map[string]any{"error": map[string]any{"id": refusedID, "format": text, "showUser": true}},
	})
}

// refusedID is the id of the bridge's own errors; Delve's lie between 1000 and
// 9999 (service/dap/error_ids.go).
const refusedID = 10000

func (o *outbox) event(name string, body any) error {
	return o.send(message{Type: "event", Event: name, Body: body})
}

// console prints one line in the IDE's debug console.
func (o *outbox) console(line string) error {
	return o.event("output", map[string]any{"category": "console", "output": "dapbridge: " + line + "\n"})
}

// explain is an error as one line for people, with its remedy.
func errorText(err error) string {
	text := err.Error()
	if hint := diag.Hint(err); hint != "" {
		text += " (" + hint + ")"
	}
	return diag.Escape(text)
}
