package bridge

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// outbox numbers and sends messages to the IDE: those of the node, and the
// bridge's own. It may be used by several goroutines; the order of their calls
// is the order on the wire.
type outbox struct {
	mu  sync.Mutex
	w   *frameWriter
	seq int64
	buf []byte
}

func newOutbox(w io.Writer) *outbox { return &outbox{w: newFrameWriter(w)} }

// relay sends a message of the node's under the outbox's next number. Its
// request_seq, if it has one, becomes requestSeq.
func (o *outbox) relay(body []byte, env envelope, requestSeq int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	o.buf = renumber(o.buf[:0], body, env, o.seq, requestSeq)
	return o.write(o.buf)
}

func (o *outbox) write(body []byte) error {
	err := o.w.write(body)
	if cap(o.buf) > keepBuffer {
		o.buf = nil
	}
	return err
}

// message is what the bridge itself says to the IDE (DAP, Base Protocol).
type message struct {
	Seq        int64  `json:"seq"`
	Type       string `json:"type"`
	RequestSeq int64  `json:"request_seq,omitempty"`
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
	return o.write(body)
}

// respond answers a request of the IDE's with success.
func (o *outbox) respond(env envelope, body any) error {
	ok := true
	return o.send(message{Type: "response", RequestSeq: env.Seq, Success: &ok, Command: env.Command, Body: body})
}

// refuse answers a request of the IDE's with an error that the IDE shows (DAP,
// ErrorResponse). Its text may come from the node.
func (o *outbox) refuse(env envelope, err error) error {
	ok := false
	text := explain(err)
	return o.send(message{
		Type: "response", RequestSeq: env.Seq, Success: &ok, Command: env.Command, Message: text,
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
func explain(err error) string {
	text := err.Error()
	if hint := diag.Hint(err); hint != "" {
		text += " (" + hint + ")"
	}
	return diag.Escape(text)
}
